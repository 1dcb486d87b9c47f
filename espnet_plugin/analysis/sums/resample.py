"""How sure figures are: utterances are drawn with replacement (Bisani and Ney, ICASSP 2004)."""

from __future__ import annotations

from typing import Iterator, List, Sequence, Tuple

import numpy as np

Figures = Tuple[np.ndarray, np.ndarray, np.ndarray]
"""A mean and its 2.5 and 97.5 percent points, of one shape."""

Pairs = Sequence[Tuple[int, int]]
"""Of each utterance: errors, and how many tokens there were to be wrong at."""

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
    drawn = draw_counts(len(values), draws, seed)
    means = [_over(c @ _flat(filled), c @ _flat(there)) for c in drawn]
    return _figures(_over(filled.sum(0), there.sum(0)), means, values.shape[1:])


def ratio_intervals(
    above: np.ndarray, below: np.ndarray, draws: int = 1000, seed: int = 0
) -> Figures:
    """Ratios of means over the utterances that have both values; arguments (U, …), and result,
    as :func:`mean_intervals`."""
    there = ~np.isnan(above) & ~np.isnan(below)
    over, under = np.where(there, above, 0.0), np.where(there, below, 0.0)
    drawn = draw_counts(len(over), draws, seed)
    ratios = [_over(c @ _flat(over), c @ _flat(under)) for c in drawn]
    return _figures(_over(over.sum(0), under.sum(0)), ratios, above.shape[1:])


def draw_counts(utterances: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each utterance is drawn, float64 (n, U), some draws at a time."""
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


class Resampling:
    """Draws of utterances that are the same for all error rates that are compared, so that their
    differences are those of pairs.

    Args:
        utterances: how many there are.
        draws, seed: of the bootstrap.
    """

    def __init__(self, utterances: int, draws: int = 1000, seed: int = 0) -> None:
        self._counts = np.concatenate(list(draw_counts(utterances, draws, seed)))

    def rates(self, pairs: Pairs) -> np.ndarray:
        """The error rate of each draw, in percent, (draws,); NaN where no token was drawn."""
        errors, tokens = (self._counts @ np.asarray(pairs, dtype=np.float64)).T
        return 100.0 * _over(errors, tokens)


def rate(pairs: Pairs) -> float:
    """Errors in percent of the tokens.

    Raises:
        ValueError: there are no tokens.
    """
    errors, tokens = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).sum(0).tolist()
    if not tokens:
        raise ValueError("no reference has a token, so there is no error rate")
    return 100.0 * errors / tokens


def interval(values: np.ndarray, level: float = 0.95) -> List[float]:
    """What holds ``level`` of the draws' values, from the middle."""
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]
