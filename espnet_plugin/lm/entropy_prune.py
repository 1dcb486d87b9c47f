"""Leave out the n-grams that change a model least.

Stolcke 1998, "Entropy-based pruning of backoff language models", DARPA Broadcast News
Transcription and Understanding Workshop, section 3.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import List, Sequence, Tuple

import numpy as np

from espnet_plugin.lm.ngram import Level, NGram, NGramError


def entropy_prune(model: NGram, threshold: float) -> NGram:
    """Leave out each n-gram without which the perplexity rises by less than ``threshold``.

    From the highest order down, n-grams are judged one at a time as if only they were left out;
    those that longer kept ones begin with stay. Back-off weights are computed anew, so every
    context still sums to 1. The probability of a context is the model's own, that of ``<s>`` is
    the one of ``</s>``, as SRILM has it.

    Args:
        model: any back-off model.
        threshold: smallest relative rise of perplexity, such as 1e-8, that keeps an n-gram.

    Raises:
        NGramError: ``threshold`` is not above 0.
    """
    check_threshold(threshold)
    levels = model.levels
    size = len(model.vocabulary)
    kept = [np.ones(len(level.keys), dtype=bool) for level in levels]
    free: List[np.ndarray] = []  # of the prefixes of the kept n-grams, highest order first
    for n in range(len(levels), 1, -1):
        rise, left = relative_entropies(model, n)
        keep = np.expm1(rise) >= threshold
        if n < len(levels):
            keep[levels[n].keys[kept[n]] // size] = True
        kept[n - 1] = keep
        prefixes = levels[n - 1].keys[~keep] // size
        freed = np.nan_to_num(10 ** levels[n - 1].log10_probs[~keep].astype(np.float64))
        free.append(left + np.bincount(prefixes, weights=freed, minlength=len(left)))
    return _without(model, kept, free[::-1])


def check_threshold(threshold: float) -> None:
    """Refuse thresholds of :func:`entropy_prune` that are not above 0.

    Raises:
        NGramError: if so.
    """
    if not threshold > 0:
        raise NGramError(f"the threshold of entropy pruning is above 0, not {threshold}")


def relative_entropies(model: NGram, order: int) -> Tuple[np.ndarray, np.ndarray]:
    """What it costs to leave out each n-gram of one order.

    Returns:
        (N,) float64 Kullback-Leibler divergences in nats, weighted by the probability of the
        context, between the model and the model without that n-gram; -inf for n-grams that have
        no probability of their own. And (P,) float64 probability that contexts leave to the
        order below.
    """
    level, below = model.levels[order - 1], model.levels[order - 2]
    prefixes = level.keys // len(model.vocabulary)
    explicit = ~np.isnan(level.log10_probs)
    log_p = np.where(explicit, level.log10_probs, 0).astype(np.float64) * math.log(10)
    text = _words(model.levels[:order], len(model.vocabulary))
    log_lower = _scores(model, text[:, 1:])[:, -1]
    assert below.log10_backoffs is not None
    log_alpha = below.log10_backoffs.astype(np.float64)[prefixes] * math.log(10)
    other = 1 - np.bincount(
        prefixes, weights=np.where(explicit, np.exp(log_lower), 0), minlength=len(below.keys)
    )
    left = np.exp(below.log10_backoffs.astype(np.float64) * math.log(10)) * np.maximum(other, 0)
    p, lower = np.exp(log_p), np.exp(log_lower)
    log_new = np.log((left[prefixes] + p) / (np.maximum(other, 0)[prefixes] + lower))
    change = p * (log_lower + log_new - log_p) + left[prefixes] * (log_new - log_alpha)
    history = np.exp(_scores(model, text[:, :-1]).sum(axis=1))
    return np.where(explicit, -history * change, -np.inf), left


def _words(levels: Sequence[Level], size: int) -> np.ndarray:
    """(N, n) word numbers of the n-grams of the last of ``levels``."""
    nodes = np.arange(len(levels[-1].keys))
    columns = []
    for level in reversed(levels):
        nodes, last = np.divmod(level.keys[nodes], size)
        columns.append(last)
    return np.stack(columns[::-1], axis=1)


def _scores(model: NGram, text: np.ndarray) -> np.ndarray:
    """(N, n) natural log probabilities of rows of word numbers; <s> has those of </s>."""
    starts = np.arange(0, text.size, text.shape[1])
    scores = model.log10_probs(text.reshape(-1), starts).reshape(text.shape)
    if model.bos >= 0 and model.eos >= 0:
        scores[text[:, 0] == model.bos, 0] = model.levels[0].log10_probs[model.eos]
    return scores * math.log(10)


def _without(model: NGram, kept: Sequence[np.ndarray], free: Sequence[np.ndarray]) -> NGram:
    """The model of the kept n-grams, with back-off weights that make contexts sum to 1."""
    words = model.vocabulary
    size = len(words)
    levels = model.levels[:1]
    renumber = np.arange(size)
    for level, keep, mass in zip(model.levels[1:], kept[1:], free, strict=True):
        prefixes, last = np.divmod(level.keys[keep], size)
        backoffs = level.log10_backoffs
        prefixes = renumber[prefixes]
        levels.append(
            Level(
                prefixes * size + last,
                level.log10_probs[keep],
                None if backoffs is None else np.zeros(int(keep.sum()), dtype=np.float32),
            )
        )
        text = _words(levels, size)
        lower = np.exp(_scores(NGram(words, levels[:-1]), text[:, 1:])[:, -1])
        lower[np.isnan(levels[-1].log10_probs)] = 0
        count = len(levels[-2].keys)
        other = 1 - np.bincount(prefixes, weights=lower, minlength=count)
        weights = np.where(other > 1e-6, mass[renumber >= 0] / np.maximum(other, 1e-6), 1.0)
        followed = np.bincount(prefixes, minlength=count) > 0
        values = np.where(followed, np.log10(np.maximum(weights, 1e-99)), 0).astype(np.float32)
        levels[-2] = replace(levels[-2], log10_backoffs=values)
        renumber = np.where(keep, keep.cumsum() - 1, -1)
    return NGram(words, levels)
