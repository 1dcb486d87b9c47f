"""How sure error rates and their differences are: one bootstrap over utterances for all of them.

The draws of utterances are the same for everything that is compared, so that differences are
those of pairs (Bisani and Ney, ICASSP 2004).
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np

Pairs = Sequence[Tuple[int, int]]
"""Of each utterance: errors, and how many tokens there were to be wrong at."""


class Resampling:
    """Draws of utterances with replacement.

    Args:
        utterances: how many there are.
        draws: how often so many are drawn.
        seed: of the draws.
    """

    def __init__(self, utterances: int, draws: int = 1000, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        drawn = generator.integers(0, utterances, (draws, utterances))
        rows = np.arange(draws)[:, None]
        self._counts = np.zeros((draws, utterances))
        np.add.at(self._counts, (rows, drawn), 1.0)

    def rates(self, pairs: Pairs) -> np.ndarray:
        """The error rate of each draw, in percent, (draws,); NaN where nothing was drawn."""
        errors, tokens = (self._counts @ np.asarray(pairs, dtype=np.float64)).T
        with np.errstate(invalid="ignore", divide="ignore"):
            return 100.0 * errors / tokens


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
