"""Corpora: the synthetic mini LibriSpeech, checks, manifests, Kaldi directories, alignments."""
