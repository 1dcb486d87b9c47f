"""Rescore n-best lists with an n-gram model."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, List, Sequence

import numpy as np

from espnet_plugin.decode.rescore.grammar import MISSING
from espnet_plugin.decode.rescore.nbest import Path
from espnet_plugin.lm.ngram import NGram


def ngram_rescoring(
    nbest: Sequence[Sequence[Path]],
    model: NGram,
    to_words: Callable[[Sequence[int]], Sequence[str]],
) -> List[List[Path]]:
    """Put the scores of an n-gram model in the place of the paths' ``lm_score``.

    Args:
        nbest: one list per utterance.
        model: the model, whose sentences begin and end with ``<s>`` and ``</s>``.
        to_words: from a path's labels to its words; joins the pieces of a token lattice.

    Returns:
        The same lists; :func:`rank` orders them. A word that the model does not have is scored
        as its ``<unk>``, or costs :data:`~espnet_plugin.decode.rescore.grammar.MISSING` if it
        has none.
    """
    words = [list(to_words(path.labels)) for paths in nbest for path in paths]
    scores = iter(model.score_sentences(words))
    return [
        [replace(path, lm_score=float(np.maximum(next(scores), MISSING).sum())) for path in paths]
        for paths in nbest
    ]
