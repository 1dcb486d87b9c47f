"""How sure an error rate is: a bootstrap over utterances."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

import numpy as np


def bootstrap_interval(
    errors: Sequence[int],
    tokens: Sequence[int],
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> Optional[Tuple[float, float]]:
    """Percentile interval of the error rate, in percent (Bisani and Ney, ICASSP 2004).

    Utterances are drawn with replacement; the rate of a sample is the ratio of its sums.

    Args:
        errors: errors of every utterance.
        tokens: reference tokens of every utterance.
        level: probability inside the interval.
        samples: how many samples are drawn.
        seed: of the random numbers; equal input gives an equal interval.

    Returns:
        Lower and upper end; None if no sample has a reference token.
    """
    generator = np.random.default_rng(seed)
    count = len(errors)
    pairs = np.stack([np.asarray(errors), np.asarray(tokens)], axis=1).astype(np.float64)
    rates = []
    for _ in range(samples):
        wrong, total = pairs[generator.integers(count, size=count)].sum(axis=0)
        if total > 0:
            rates.append(100.0 * wrong / total)
    if not rates:
        return None
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
