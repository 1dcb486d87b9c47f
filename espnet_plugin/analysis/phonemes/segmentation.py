"""Boundaries between phones from the rows of attention maps, and how good they are.

v_t is what stands for frame t: the row A[t] of an attention map, or the frame's MFCCs.
K[i, j] = exp(-|v_i - v_j| / α); ε_i = β mean_j K[i, j]; Kf[i, j] = 1 if K[i, k] > ε_i for every k
from i to j; S[t] = Σ_k Kf[t - k, t + k]; the local minima of S are boundaries.

Sources: Yang, Liu, Lee, "Understanding Self-Attention of Self-Supervised Audio Transformers",
Interspeech 2020 (arXiv 2006.03265) [P]. What is left open is ours [I]: α is a multiple of the mean
distance of the utterance's frames, k runs over both signs, a flat minimum is one boundary in its
middle, and the ends of an utterance are none. R-value: Räsänen, Laine, Altosaar, "An improved
speech segmentation quality measure: the R-value", Interspeech 2009.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


def distances(vectors: Tensor) -> Tensor:
    """|v_i - v_j| of (…, T, D): (…, T, T) float64, exactly symmetric, 0 for equal vectors."""
    vectors = vectors.double()
    products = vectors @ vectors.transpose(-1, -2)
    own = products.diagonal(dim1=-2, dim2=-1)
    both = own[..., :, None] + own[..., None, :]
    squares = both - products - products.transpose(-1, -2)
    return squares.masked_fill(squares <= 1e-14 * both, 0.0).sqrt()  # what rounding leaves


def kernel(distance: Tensor, alpha: float) -> Tensor:
    """K of (…, T, T) distances; ``alpha``: α in multiples of the mean distance of each matrix."""
    mean = distance.mean((-1, -2), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    return (distance / (-alpha * mean)).exp_()


def togetherness(kernels: Tensor, beta: float) -> Tensor:
    """S of kernels (…, T, T): (…, T) int64.

    A row i of Kf is one stretch from a to b around i, and its member j counts for S[(i + j) / 2]:
    together for those from ceil((i + a) / 2) to floor((i + b) / 2), once each. So S is a sum of
    stretches, by differences at their ends.
    """
    frames = kernels.shape[-1]
    near = kernels > beta * kernels.mean(-1, keepdim=True)
    place = torch.arange(frames, device=kernels.device)
    itself = near.diagonal(dim1=-2, dim2=-1).long()
    left = place.where(~near & (place < place[:, None]), place.new_tensor(-1)).amax(-1) + 1
    right = place.where(~near & (place > place[:, None]), place.new_tensor(frames)).amin(-1) - 1
    sums = torch.zeros(*left.shape[:-1], frames + 1, dtype=torch.int64, device=kernels.device)
    sums.scatter_add_(-1, torch.div(place + left + 1, 2, rounding_mode="floor"), itself)
    sums.scatter_add_(-1, torch.div(place + right, 2, rounding_mode="floor") + 1, -itself)
    return sums[..., :-1].cumsum(-1)


def local_minima(values: np.ndarray) -> np.ndarray:
    """Places of the local minima of (T,): of a flat one its middle (the earlier of two); the ends
    are none."""
    values = np.asarray(values)
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    stops = np.append(starts[1:], len(values))
    levels = values[starts]
    low = np.flatnonzero((levels[1:-1] < levels[:-2]) & (levels[1:-1] < levels[2:])) + 1
    return (starts[low] + stops[low] - 1) // 2


class BoundaryCounts(NamedTuple):
    """What a segmentation found; counts of utterances add."""

    hits: int
    """True boundaries that were found."""
    found: int
    true: int

    @property
    def recall(self) -> float:
        """The hit rate HR; NaN where there is nothing to find."""
        return self.hits / self.true if self.true else math.nan

    @property
    def precision(self) -> float:
        """The share of what was found that hits; NaN where nothing was found."""
        return self.hits / self.found if self.found else math.nan

    @property
    def f_score(self) -> float:
        """The harmonic mean of precision and recall."""
        total = self.found + self.true
        return 2 * self.hits / total if total else math.nan

    @property
    def over_segmentation(self) -> float:
        """OS: how many more were found than there are, as a share of these."""
        return self.found / self.true - 1 if self.true else math.nan

    @property
    def r_value(self) -> float:
        """See :func:`r_value`."""
        return float(r_value(np.array(self)))


def r_value(counts: np.ndarray) -> np.ndarray:
    """R = 1 - (|r1| + |r2|) / 2 with r1 = √((1 - HR)² + OS²) and r2 = (HR - 1 - OS) / √2.

    Args:
        counts: (…, 3), as :class:`BoundaryCounts`.

    Returns:
        (…), at most 1, which is perfect; NaN where there is nothing to find.
    """
    hits, found, true = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    true = np.where(true > 0, true, np.nan)
    missed, over = 1 - hits / true, found / true - 1
    return 1 - (np.hypot(missed, over) + np.abs(missed + over) / math.sqrt(2)) / 2


def count_boundaries(found: np.ndarray, true: np.ndarray, tolerance: int) -> BoundaryCounts:
    """Hits as Räsänen et al. count them.

    A true boundary is hit if anything is found within the tolerance; where the reaches of two
    true boundaries overlap, each ends half-way between them, so nothing hits twice.

    Args:
        found, true: samples, (N,) and (M,) whole numbers, in order.
        tolerance: in samples; a distance of exactly so many is a hit.
    """
    found, true = np.asarray(found, dtype=np.int64), np.asarray(true, dtype=np.int64)
    low, high = 2 * (true - tolerance), 2 * (true + tolerance)  # doubled: half-way is whole
    between = true[:-1] + true[1:]
    low[1:] = np.maximum(low[1:], between + 1)
    high[:-1] = np.minimum(high[:-1], between)
    first = np.searchsorted(2 * found, low, side="left")
    hits = int((first < np.searchsorted(2 * found, high, side="right")).sum())
    return BoundaryCounts(hits, len(found), len(true))


def segment(vectors: Tensor, alpha: float = 1.0, beta: float = 1.0) -> np.ndarray:
    """The frames at which boundaries are, (N,) int64.

    Args:
        vectors: (T, D), one per frame: the attention map (T, T) of one head, or MFCCs.
        alpha: α in multiples of the mean distance.
        beta: β.
    """
    return local_minima(togetherness(kernel(distances(vectors), alpha), beta).cpu().numpy())
