"""Means over utterances with bootstrap intervals: utterances are drawn with replacement."""

from __future__ import annotations

from typing import Iterator, Tuple

import numpy as np

Figures = Tuple[np.ndarray, np.ndarray, np.ndarray]
"""A mean and its 2.5 and 97.5 percent points, of one shape."""

_DRAWS_AT_ONCE = 50


def mean_intervals(values: np.ndarray, draws: int = 1000, seed: int = 0) -> Figures:
    """Means over utterances.

    Args:
        values: (U, …), NaN where an utterance has none.
        draws, seed: of the bootstrap.

    Returns:
        (…) each, NaN where no utterance has a value.
    """
    there = ~np.isnan(values)
    filled = np.where(there, values, 0.0)
    means = [_over(c @ _flat(filled), c @ _flat(there)) for c in _counts(len(values), draws, seed)]
    return _figures(_over(filled.sum(0), there.sum(0)), means, values.shape[1:])


def ratio_intervals(
    above: np.ndarray, below: np.ndarray, draws: int = 1000, seed: int = 0
) -> Figures:
    """Ratios of means over the utterances that have both values; arguments (U, …), and result,
    as :func:`mean_intervals`."""
    there = ~np.isnan(above) & ~np.isnan(below)
    over, under = np.where(there, above, 0.0), np.where(there, below, 0.0)
    ratios = [_over(c @ _flat(over), c @ _flat(under)) for c in _counts(len(over), draws, seed)]
    return _figures(_over(over.sum(0), under.sum(0)), ratios, above.shape[1:])


def _counts(utterances: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each utterance is drawn (draws, U), some draws at a time."""
    generator = np.random.default_rng(seed)
    even = np.full(utterances, 1 / max(1, utterances))
    for first in range(0, draws, _DRAWS_AT_ONCE):
        now = min(_DRAWS_AT_ONCE, draws - first)
        yield generator.multinomial(utterances, even, now).astype(np.float64)


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).astype(np.float64)


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below != 0)


def _figures(mean: np.ndarray, drawn: list[np.ndarray], shape: Tuple[int, ...]) -> Figures:
    drawn_all = np.concatenate(drawn)
    none = np.isnan(drawn_all).all(0)
    low, high = np.full((2, drawn_all.shape[1]), np.nan)
    if not none.all():
        low[~none], high[~none] = np.nanpercentile(drawn_all[:, ~none], [2.5, 97.5], axis=0)
    return mean, low.reshape(shape), high.reshape(shape)
