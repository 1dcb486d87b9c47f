"""How alike two representations of the same samples are: cosine, linear CKA, mutual k-NN.

Source: Dorszewski, Jacobsen, Tětková, Hansen, "How redundant is the transformer stack in speech
representation models?", ICASSP 2025 (arXiv 2409.16302), and their code. A sample is a frame or
a whole utterance, as the caller chooses; sums are float64.
"""

from __future__ import annotations

from typing import Tuple, Union

import numpy as np
import torch
from torch import Tensor

Array = Union[np.ndarray, Tensor]

ROWS = 2048
"""Samples whose inner products with all others are held at once by :func:`mutual_knn`."""


def cosine_similarity(x: Array, y: Array) -> float:
    """Mean over samples of the cosine of the angle between the two vectors.

    Args:
        x, y: (N, D), of one width; arrays or tensors of any floating type, finite.

    Returns:
        −1 to 1. A sample that is zero in x or y has no angle and is left out.

    Raises:
        TypeError, ValueError: shapes that do not fit; values that are not finite; every sample
            is zero in one of them.
    """
    x, y = _pair(x, y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"cosines need one width, not {x.shape[1]} and {y.shape[1]}")
    norms = x.norm(dim=1) * y.norm(dim=1)
    there = norms > 0
    if not bool(there.any()):
        raise ValueError("every sample is zero in x or in y: there are no angles")
    return float(((x * y).sum(dim=1)[there] / norms[there]).mean())


def linear_cka(x: Array, y: Array, unbiased: bool = False) -> float:
    """Linear centred kernel alignment: ⟨HKH, HLH⟩ / (‖HKH‖ ‖HLH‖), K = XXᵀ, L = YYᵀ.

    Args:
        x: (N, D) and
        y: (N, E), arrays or tensors of any floating type, finite; the widths may differ.
        unbiased: HSIC without the bias of few samples (Song et al. 2012, as in the minibatch
            CKA of Nguyen et al. 2021); the biased form is the paper's.

    Returns:
        1 for x and any rotation, scaling and shift of it; biased 0 to 1, unbiased around 0 for
        independent samples.

    Raises:
        TypeError, ValueError: shapes that do not fit; values that are not finite; fewer than 2
            samples (4 if unbiased); one of them is the same in all samples, so that its
            alignment with anything is 0/0; unbiased, an estimate of a norm is not positive.
    """
    x, y = _pair(x, y)
    least = 4 if unbiased else 2
    if len(x) < least:
        raise ValueError(f"CKA needs at least {least} samples, not {len(x)}")
    centred = [_centred(value, name) for value, name in ((x, "x"), (y, "y"))]
    xy, xx, yy = (_hsic(centred[i], centred[j], unbiased) for i, j in ((0, 1), (0, 0), (1, 1)))
    if xx <= 0 or yy <= 0:
        raise ValueError("the unbiased estimate of a norm is not positive: take more samples")
    return xy / (xx * yy) ** 0.5


def mutual_knn(x: Array, y: Array, k: int = 10) -> float:
    """How many of a sample's k nearest neighbours in x are among those in y, as a share.

    Neighbours are by inner product, the sample itself excluded; of equal ones those that come
    first.

    Args:
        x: (N, D) and
        y: (N, E), arrays or tensors of any floating type, finite; the widths may differ.
        k: neighbours of each sample, 1 to N − 1.

    Returns:
        0 to 1, the mean over samples; k/(N − 1) for independent ones.

    Raises:
        TypeError, ValueError: shapes that do not fit; values that are not finite; k beyond its
            range.
    """
    x, y = _pair(x, y)
    if not 1 <= k < len(x):
        raise ValueError(f"k must lie between 1 and {len(x) - 1} for {len(x)} samples, not {k}")
    shared = 0
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        in_x, in_y = (_nearest(value, rows, k) for value in (x, y))
        shared += int((in_x & in_y).sum())
    return shared / (k * len(x))


def _nearest(x: Tensor, rows: slice, k: int) -> Tensor:
    products = x[rows] @ x.T
    index = torch.arange(rows.start, rows.start + len(products), device=x.device)
    products[torch.arange(len(products), device=x.device), index] = -torch.inf
    order = products.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return torch.zeros_like(products, dtype=torch.bool).scatter_(1, order, True)


def _hsic(x: Tensor, y: Tensor, unbiased: bool) -> float:
    """⟨HKH, HLH⟩ of centred features, or its unbiased estimate, up to a common factor."""
    cross = float((x.T @ y).square().sum())
    if not unbiased:
        return cross
    # K and L without their diagonals; centred features make their full rows sum to 0
    count = len(x)
    k_diagonal, l_diagonal = x.square().sum(dim=1), y.square().sum(dim=1)
    products = cross - float(k_diagonal @ l_diagonal)
    k_rows, l_rows = -k_diagonal, -l_diagonal
    sums = float(k_rows.sum() * l_rows.sum()) / ((count - 1) * (count - 2))
    return products + sums - 2 * float(k_rows @ l_rows) / (count - 2)


def _centred(x: Tensor, name: str) -> Tensor:
    centred = x - x.mean(dim=0)
    # what rounding leaves of a constant
    if float(centred.abs().max()) <= 1e-12 * float(x.abs().max()):
        raise ValueError(f"{name} is the same in all samples: its alignment is 0/0")
    return centred


def _pair(x: Array, y: Array) -> Tuple[Tensor, Tensor]:
    pair = []
    for value, name in ((x, "x"), (y, "y")):
        tensor = torch.as_tensor(value)
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must hold floating-point numbers, not {tensor.dtype}")
        if tensor.dim() != 2 or 0 in tensor.shape:
            raise ValueError(f"{name} must be (samples, width), not {tuple(tensor.shape)}")
        tensor = tensor.detach().double()
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} has values that are not finite")
        pair.append(tensor)
    if len(pair[0]) != len(pair[1]):
        raise ValueError(f"x and y must be of the same samples, not {len(x)} and {len(y)}")
    return pair[0], pair[1]
