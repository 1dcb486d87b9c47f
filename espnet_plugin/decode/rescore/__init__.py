"""Rescoring: n-best lists, oracle, n-gram and attention models, and scales tuned on a set."""

from __future__ import annotations

from espnet_plugin.decode.rescore.attention import attention_rescoring
from espnet_plugin.decode.rescore.grammar import GrammarTables
from espnet_plugin.decode.rescore.nbest import Path, nbest_paths, rank, sampled_paths
from espnet_plugin.decode.rescore.ngram import ngram_rescoring
from espnet_plugin.decode.rescore.oracle import (
    lattice_oracle,
    nbest_oracle,
    token_units,
    word_units,
)
from espnet_plugin.decode.rescore.tune import Trial, Tuner, grid
from espnet_plugin.decode.rescore.whole_lattice import whole_lattice_rescoring

__all__ = [
    "GrammarTables",
    "Path",
    "Trial",
    "Tuner",
    "attention_rescoring",
    "grid",
    "lattice_oracle",
    "nbest_oracle",
    "nbest_paths",
    "ngram_rescoring",
    "rank",
    "sampled_paths",
    "token_units",
    "whole_lattice_rescoring",
    "word_units",
]
