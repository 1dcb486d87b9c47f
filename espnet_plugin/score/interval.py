"""How sure an error rate is: a bootstrap over utterances."""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

import numpy as np


def bootstrap_interval(
    errors: Sequence[float],
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


def paired_interval(
    errors: Sequence[float],
    other_errors: Sequence[float],
    tokens: Sequence[int],
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> Optional[Tuple[float, float]]:
    """Percentile interval of the difference of two error rates on the same utterances.

    In each sample both systems have the same utterances (Bisani and Ney, ICASSP 2004), so that what
    is hard for both does not count.

    Args:
        errors: of every utterance; the mean over several runs of a system is a number too.
        other_errors: of the same utterances by the system that is compared with.
        tokens: reference tokens of every utterance.
        level, samples, seed: as for :func:`bootstrap_interval`.

    Returns:
        Lower and upper end of rate − other rate, in percent points; None if no sample has a
        reference token.

    Raises:
        ValueError: the three are not of one length.
    """
    if not len(errors) == len(other_errors) == len(tokens):
        raise ValueError(
            f"{len(errors)} and {len(other_errors)} errors of {len(tokens)} utterances cannot be "
            "paired"
        )
    differences = np.subtract(errors, other_errors, dtype=np.float64)
    return bootstrap_interval(differences.tolist(), tokens, level, samples, seed)
