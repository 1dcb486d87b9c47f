"""Classification of whole utterances by a stack with a linear head: words, speakers.

Dorszewski, Jacobsen, Tětková, Hansen (ICASSP 2025, arXiv 2409.16302) measure with such classifiers
what a stack loses when blocks are taken out or a small network imitates it.
"""
