"""Attention of whole blocks: patterns, and which blocks are abnormal."""
