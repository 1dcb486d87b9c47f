"""Rescoring: n-best lists, oracle, n-gram and attention models, and scales tuned on a set."""

from __future__ import annotations

from espnet_plugin.decode.rescore.nbest import Path, nbest_paths, sampled_paths

__all__ = ["Path", "nbest_paths", "sampled_paths"]
