"""Attention and phonemes: labels on frames, relation maps, phoneme attention, segmentation."""
