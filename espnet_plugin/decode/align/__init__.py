"""CTC forced alignment with k2: tokens, words and phones with their times."""
