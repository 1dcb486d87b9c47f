"""Block structure of a similarity matrix: stretches of states that resemble each other.

Dorszewski et al. (ICASSP 2025, arXiv 2409.16302) see "two processing steps" in such matrices. How
they are found here is ours [I]: the contiguous parts with the least scatter within (kernel
change-point detection: Harchaoui, Cappé 2007; Arlot, Celisse, Harchaoui 2019), exactly, by dynamic
programming. A matrix without any blocks has a best segmentation too, for states resemble each
other the less the further they are apart. So a number of parts is named only where the matrix
beats those that have its decay, and its drift over depth, but nothing else: in each diagonal
|i − j| what is left beside a straight line is shuffled.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

LEAST = 6
"""The fewest states for which a structure can be told from the decay."""
LEVEL = 0.01
"""How often at most a matrix without blocks may be said to have some."""


@dataclass(frozen=True)
class Segmentation:
    """The best segmentation into a number of parts."""

    parts: int
    starts: Tuple[int, ...]
    """The first state of each part; 0 is the first of all."""
    score: float
    """The share of the scatter of all states around their mean that lies between the parts, 0 to
    1."""
    null_mean: float
    """The mean score of matrices without blocks."""
    null_high: float
    """What 95 % of these do not reach."""
    excess: float
    """Standard deviations of these that ``score`` is above their mean."""


@dataclass(frozen=True)
class Structure:
    """What parts the states of a stack fall into."""

    parts: int
    """Of the segmentation that stands out most; 1: none does."""
    starts: Tuple[int, ...]
    """The first state of each of them."""
    p_value: float
    """How often a matrix without blocks has as large an excess, for any number of parts."""
    candidates: Tuple[Segmentation, ...]
    """The best segmentation into 2, 3, … parts."""

    def to_dict(self) -> Dict[str, Any]:
        """For JSON."""
        found = asdict(self)
        found["starts"] = list(self.starts)
        found["candidates"] = [
            {**asdict(candidate), "starts": list(candidate.starts)} for candidate in self.candidates
        ]
        return found


def best_segmentation(similarity: Any, parts: int) -> Tuple[Tuple[int, ...], float]:
    """The contiguous parts with the least scatter within.

    The scatter of a part is Σ S_ii − (1/n) Σ S_ij over its n states: what the squared distances
    from their mean add up to where S holds inner products, as CKA and cosines do. Of equal
    segmentations the one whose parts begin first.

    Args:
        similarity: (L, L), symmetric, finite.
        parts: 1 to L.

    Returns:
        The first state of each part, and the share of the scatter of all states that lies between
        the parts: 0 for one part, 1 where all states of a part are the same.

    Raises:
        ValueError: another shape, values that are not finite, or parts beyond their range.
    """
    values = _checked(similarity)
    if not 1 <= parts <= len(values):
        raise ValueError(f"{len(values)} states have no {parts} parts")
    cost = _costs(values[None])
    within, choices = _search(cost, parts)
    starts: List[int] = []
    end = len(values)
    for choice in choices[::-1]:
        end = int(choice[0, end])
        starts.append(end)
    return tuple(starts[::-1]), float(_scores(cost, within)[-1][0])


def block_structure(similarity: Any, most: int = 5, draws: int = 1000, seed: int = 0) -> Structure:
    """The number of parts that stands out, and the parts.

    For 2, 3, … parts the best segmentation's score is compared with those of ``draws`` matrices
    without blocks. Chosen is the number of parts with the largest excess, if no more than
    :data:`LEVEL` of these matrices have as large a one for any number of parts; else 1.

    Args:
        similarity: (L, L), symmetric, finite: linear CKA or cosines.
        most: parts, at most; never more than L / 2.
        draws, seed: of matrices without blocks.

    Raises:
        ValueError: as :func:`best_segmentation`, or fewer than :data:`LEAST` states.
    """
    values = _checked(similarity)
    states = len(values)
    if states < LEAST:
        raise ValueError(f"{states} states are too few: blocks can be told from {LEAST} states on")
    most = min(most, states // 2)
    cost = _costs(structureless(values, draws, seed))
    null = np.stack(_scores(cost, _search(cost, most)[0])[1:])  # (most - 1, draws)
    found = [best_segmentation(values, parts) for parts in range(2, most + 1)]
    mean = null.mean(axis=1)
    spread = np.maximum(null.std(axis=1), 1e-12)
    excess = (np.array([score for _, score in found]) - mean) / spread
    largest = ((null - mean[:, None]) / spread[:, None]).max(axis=0)
    p_value = (1 + int((largest >= excess.max()).sum())) / (1 + draws)
    candidates = tuple(
        Segmentation(
            parts=len(starts),
            starts=starts,
            score=score,
            null_mean=float(mean[n]),
            null_high=float(np.percentile(null[n], 95)),
            excess=float(excess[n]),
        )
        for n, (starts, score) in enumerate(found)
    )
    best = candidates[int(excess.argmax())]
    stands_out = p_value <= LEVEL and best.excess > 0
    return Structure(
        best.parts if stands_out else 1, best.starts if stands_out else (0,), p_value, candidates
    )


def structureless(similarity: Any, draws: int, seed: int = 0) -> np.ndarray:
    """Matrices with the decay and the drift of ``similarity`` and no blocks.

    Each diagonal is a straight line over depth (the mean, where it has fewer than four entries),
    fitted by least squares, and the rest, shuffled.

    Args:
        similarity: (L, L), symmetric, finite.
        draws, seed: how many, and of the shuffling.

    Returns:
        (draws, L, L), symmetric.
    """
    values = _checked(similarity)
    states = len(values)
    generator = np.random.default_rng(seed)
    found = np.empty((draws, states, states))
    for apart in range(states):
        entries = values.diagonal(apart)
        place = np.arange(states - apart)
        trend = np.full(len(entries), entries.mean())
        if len(entries) >= 4:
            trend = np.polyval(np.polyfit(place, entries, 1), place)
        left = np.broadcast_to(entries - trend, (draws, len(entries)))
        shuffled = trend + generator.permuted(left, axis=1)
        found[:, place, place + apart] = found[:, place + apart, place] = shuffled
    return found


def first_similarity_block(similarity: Any) -> int:
    """Where the blocks part best into two stretches: the last block of the first one.

    Args:
        similarity: (L, L) of blocks.

    Returns:
        0 to L − 2; 0 where there is one block.
    """
    values = _checked(similarity)
    if len(values) < 2:
        return 0
    return best_segmentation(values, 2)[0][1] - 1


def _costs(values: np.ndarray) -> np.ndarray:
    """(N, L, L) -> (N, L + 1, L + 1): the scatter of the states from i to before j, where i < j."""
    count, states, _ = values.shape
    sums = np.zeros((count, states + 1, states + 1))
    sums[:, 1:, 1:] = values.cumsum(axis=1).cumsum(axis=2)
    own = np.zeros((count, states + 1))
    own[:, 1:] = values.diagonal(axis1=1, axis2=2).cumsum(axis=1)
    start, end = np.arange(states + 1)[:, None], np.arange(states + 1)
    corner = sums[:, end, end]
    inside = corner[:, None, :] + corner[:, :, None] - sums - sums.transpose(0, 2, 1)
    scatter = own[:, None, :] - own[:, :, None] - inside / np.maximum(end - start, 1)
    return np.where(start < end, scatter, np.inf)


def _search(cost: np.ndarray, most: int) -> Tuple[List[np.ndarray], List[np.ndarray]]:
    """For 1 … ``most`` parts the least scatter (N,), and where the last part begins (N, L + 1) of
    the best segmentation of the states before each end."""
    count, ends, _ = cost.shape
    best: Optional[np.ndarray] = None
    within, choices = [], []
    for _ in range(most):
        if best is None:
            begin = np.zeros((count, ends), dtype=np.int64)
            best = cost[:, 0]
        else:
            through = best[:, :, None] + cost
            begin = through.argmin(axis=1)
            best = through.min(axis=1)
        within.append(best[:, -1])
        choices.append(begin)
    return within, choices


def _scores(cost: np.ndarray, within: List[np.ndarray]) -> List[np.ndarray]:
    """The shares of the scatter of all states that lie between the parts."""
    whole = cost[:, 0, -1]
    scale = np.where(np.abs(whole) > 1e-12, whole, 1.0)
    return [np.where(np.abs(whole) > 1e-12, 1 - part / scale, 0.0) for part in within]


def _checked(similarity: Any) -> np.ndarray:
    values = np.asarray(similarity, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not len(values):
        raise ValueError(f"a similarity matrix is square, not {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("the similarity matrix has values that are not finite")
    return values
