"""Interpolated modified Kneser-Ney smoothing.

Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling", section
4.1.6 and equation 26; Heafield et al. 2013, "Scalable Modified Kneser-Ney Language Model
Estimation", section 3; pruning as KenLM's ``lmplz --prune`` does it.
"""

from __future__ import annotations

import logging
from typing import Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from espnet_plugin.lm.counts import Counts, count_ngrams, number_words
from espnet_plugin.lm.ngram import Level, NGram, NGramError

logger = logging.getLogger(__name__)

FALLBACK = (0.5, 1.0, 1.5)
"""D1, D2 and D3+ where counts of counts give none; the same as lmplz's ``--discount_fallback``."""


def train_ngram(
    sentences: Iterable[Sequence[str]],
    order: int,
    vocabulary: Optional[Iterable[str]] = None,
    prune: Sequence[int] = (0,),
    base_counts: Optional[Mapping[str, int]] = None,
) -> NGram:
    """Train an interpolated modified Kneser-Ney model.

    Args:
        sentences: lists of words without ``<s>`` and ``</s>``.
        order: of the model, at least 1.
        vocabulary: all words that count; others are counted as ``<unk>``. None: all words of
            the text, so that ``<unk>`` only gets its share of the lowest order.
        prune: for each order the count at or below which its n-grams are left out; the last
            value stands for all higher orders. The first must be 0, and none below the one
            before it, so prefixes and suffixes of what is kept are kept.
        base_counts: how often words are in some other, larger text (our own addition, not in
            the papers). 1-grams are interpolated with these counts' relative frequencies, one
            added to each, instead of the uniform distribution, and the words join the
            vocabulary.

    Returns:
        The model. In every context the probabilities of all words but ``<s>`` sum to 1.

    Raises:
        NGramError: no sentences, one that holds ``<s>`` or ``</s>``, an impossible ``order`` or
            ``prune``, or a negative count.
    """
    thresholds = _thresholds(prune, order)
    if base_counts and min(base_counts.values()) < 0:
        raise NGramError("base counts must not be negative")
    words, text = number_words(sentences, vocabulary, base_counts or ())
    counts = count_ngrams(text, len(words), order)
    base = _base_distribution(words, base_counts or {})
    return NGram(words, estimate(counts, thresholds, base))


def _thresholds(prune: Sequence[int], order: int) -> List[int]:
    """The pruning threshold of each order."""
    if order < 1:
        raise NGramError(f"the order of an n-gram model is at least 1, not {order}")
    if not 1 <= len(prune) <= order or prune[0] != 0 or list(prune) != sorted(prune):
        shown = " ".join(map(str, prune))
        raise NGramError(
            f"prune {shown}: at most {order} values that begin with 0 and do not fall are wanted"
        )
    return [*prune, *[prune[-1]] * (order - len(prune))]


def _base_distribution(words: Sequence[str], base_counts: Mapping[str, int]) -> np.ndarray:
    """(V,) float64: what 1-grams are interpolated with; uniform without counts, 0 for <s>."""
    base = np.array([base_counts.get(word, 0) + 1.0 for word in words])
    base[1] = 0
    return base / base.sum()


def discounts(adjusted: np.ndarray, order: int) -> np.ndarray:
    """(4,) float64: what is taken from counts 0, 1, 2 and from 3 and more of one order.

    Equation 26 of Chen & Goodman: D_j = j - (j + 1) Y n_(j+1) / n_j with Y = n_1 / (n_1 + 2 n_2)
    and n_j the number of n-grams with adjusted count j. Where n_1, n_2 or n_3 is 0 or a D_j is
    not in [0, j], all three are :data:`FALLBACK`, and a line of the log says so.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(adjusted, 5), minlength=6)[1:5].tolist()
    values = FALLBACK
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        values = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if not (n1 and n2 and n3) or not all(0 <= d <= j for j, d in enumerate(values, 1)):
        logger.warning(
            "too little text to estimate the discounts of %d-grams (n1..n4 = %d %d %d %d): "
            "D1, D2, D3+ = %g %g %g instead",
            *(order, n1, n2, n3, n4, *FALLBACK),
        )
        values = FALLBACK
    return np.array([0.0, *values])


def estimate(counts: Sequence[Counts], thresholds: Sequence[int], base: np.ndarray) -> List[Level]:
    """Interpolated probabilities and back-off weights from counts.

    Args:
        counts: of orders 1, 2, ...
        thresholds: the raw count at or below which the n-grams of each order are left out.
        base: (V,) the distribution below the 1-grams; sums to 1.

    Returns:
        The levels of a model.
    """
    size = len(base)
    levels: List[Level] = []
    lower = base  # (N,) probabilities of the order below, by its unpruned numbers
    renumber = np.zeros(1, dtype=np.int64)  # (N,) of the order below: kept numbers
    for n, (count, threshold) in enumerate(zip(counts, thresholds, strict=True), 1):
        kept = count.raw > threshold if threshold else np.ones(len(count.keys), dtype=bool)
        prefixes, last = np.divmod(count.keys, size)
        probs, backoffs = _interpolate(
            count.adjusted,
            prefixes,
            kept,
            discounts(count.adjusted, n),
            lower[count.suffixes] if n > 1 else lower,
            len(renumber),
        )
        if n > 1:
            before = levels[-1]
            weights = _log10(backoffs)[np.flatnonzero(renumber >= 0)]
            levels[-1] = Level(before.keys, before.log10_probs, weights)
        else:
            probs[1] = 0  # <s> is never predicted
        levels.append(Level(renumber[prefixes[kept]] * size + last[kept], _log10(probs[kept])))
        renumber = np.where(kept, kept.cumsum() - 1, -1)
        lower = probs
    return levels


def _interpolate(
    adjusted: np.ndarray,
    prefixes: np.ndarray,
    kept: np.ndarray,
    discount: np.ndarray,
    lower: np.ndarray,
    num_prefixes: int,
) -> Tuple[np.ndarray, np.ndarray]:
    """(N,) probabilities of n-grams and (P,) back-off weights of their prefixes.

    A prefix that is followed by nothing has a weight of 1. What is pruned gives its whole count
    to the back-off weight, what is kept its discount.
    """
    taken = np.where(kept, discount[np.minimum(adjusted, 3)], adjusted)
    total = np.bincount(prefixes, weights=adjusted, minlength=num_prefixes)
    free = np.bincount(prefixes, weights=taken, minlength=num_prefixes)
    weights = np.divide(free, total, out=np.ones(num_prefixes), where=total > 0)
    probs = (adjusted - taken) / total[prefixes] + weights[prefixes] * lower
    return probs, weights


def _log10(values: np.ndarray) -> np.ndarray:
    """Base-10 logarithms in float32; -99, ARPA's sign for nothing, where the value is 0."""
    return np.log10(np.maximum(values, 1e-99)).astype(np.float32)
