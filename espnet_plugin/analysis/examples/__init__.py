"""Utterances to look at: maps as pictures, and sound."""
