"""Measures of attention maps: globalness, verticality, diagonality, and two more.

All functions take maps (B, H, T, T), rows are queries and sum to 1, and the number of valid
frames of each utterance, lengths (B,). What lies beyond an utterance's length never counts,
whatever it is. Results are (B, H), float64, one value per utterance and head; natural
logarithms, 0 · log 0 = 0.

Precision: float64 maps are measured in float64. Other types (float32, float16, bfloat16) are
measured in float32, the precision in which the models computed them or better, row by row, and
the sums of rows are float64: within about 1e-6 of a float64 evaluation of the same maps.

Cost: each measure is a few passes over the maps in pieces that fit the processor's cache; one
piece is the only extra memory.

Sources: G, V, D: Yang, Liu, Lee, "Understanding Self-Attention of Self-Supervised Audio
Transformers", Interspeech 2020 (arXiv 2006.03265). CAD: Shim, Choi, Sung, "Understanding the
Role of Self Attention for Efficient Speech Recognition", ICLR 2022, in a discrete form of ours.
Maximum attention weight: Yang et al. rank heads by it too; the mean over queries is after Voita et
al., ACL 2019 (arXiv 1905.09418), who call it a head's confidence [I].
"""

from __future__ import annotations

import math
from typing import NamedTuple, Union

import torch

from espnet_plugin.analysis.maps.pieces import Lengths, check_maps, pieces


class Measures(NamedTuple):
    """The measures of each utterance and head, (B, H) float64 each."""

    globalness: torch.Tensor
    verticality: torch.Tensor
    diagonality: torch.Tensor
    cumulative_diagonality: torch.Tensor
    maximum_weight: torch.Tensor


MEASURES = Measures._fields
"""The names of the measures, in the order of :class:`Measures`."""


def globalness(maps: torch.Tensor, lengths: Lengths) -> torch.Tensor:
    """G = (1/T) Σ_q H(A[q]): mean entropy of the rows, in nats. Uniform map: ln T; identity: 0.

    Args:
        maps: (B, H, T, T), any floating type, any device.
        lengths: (B,) valid frames, 1 to T.

    Returns:
        (B, H) float64.

    Raises:
        TypeError, ValueError: shapes, types or lengths that do not fit.
    """
    lengths = check_maps(maps, lengths)
    result = _empty(maps)
    for where, frames, piece in pieces(maps, lengths):
        result[where] = row_entropy(piece) / frames
    return result


def verticality(maps: torch.Tensor, lengths: Lengths) -> torch.Tensor:
    """V = −H((1/T) Σ_q A[q]): minus the entropy of the mean row, in nats. One column: 0;
    uniform and identity maps: −ln T. Arguments as :func:`globalness`."""
    lengths = check_maps(maps, lengths)
    result = _empty(maps)
    for where, _, piece in pieces(maps, lengths):
        result[where] = -_mean_row_entropy(piece)
    return result


def diagonality(maps: torch.Tensor, lengths: Lengths) -> torch.Tensor:
    """D = −(1/T²) Σ_q Σ_k |q−k| A[q,k]. Identity map: 0; uniform: −(T²−1)/(3T²).
    Arguments as :func:`globalness`."""
    lengths = check_maps(maps, lengths)
    return _diagonality(_distance(maps, lengths), lengths)


def cumulative_diagonality(maps: torch.Tensor, lengths: Lengths) -> torch.Tensor:
    """CAD = 1 − (1/T) Σ_q Σ_k |q−k| A[q,k] / (T−1); 1 where T = 1. Identity map: 1; uniform:
    1 − (T+1)/(3T).

    The integral over r from 0 to 1 of the attention within r(T−1) frames of the diagonal.
    Arguments as :func:`globalness`.
    """
    lengths = check_maps(maps, lengths)
    return _cumulative(_distance(maps, lengths), lengths)


def maximum_weight(maps: torch.Tensor, lengths: Lengths) -> torch.Tensor:
    """(1/T) Σ_q max_k A[q,k]. Uniform map: 1/T; identity and one column: 1.
    Arguments as :func:`globalness`."""
    lengths = check_maps(maps, lengths)
    result = _empty(maps)
    for where, frames, piece in pieces(maps, lengths):
        result[where] = _largest(piece) / frames
    return result


def measure(maps: torch.Tensor, lengths: Lengths) -> Measures:
    """All measures, with what they share computed once. Arguments as :func:`globalness`."""
    lengths = check_maps(maps, lengths)
    entropy, vertical, distance, largest = (_empty(maps) for _ in range(4))
    for where, frames, piece in pieces(maps, lengths):
        buffer = torch.empty_like(piece, memory_format=torch.contiguous_format)
        entropy[where] = row_entropy(piece, buffer) / frames
        vertical[where] = -_mean_row_entropy(piece)
        distance[where] = _weighted_distance(piece, buffer)
        largest[where] = _largest(piece) / frames
    return Measures(
        entropy, vertical, _diagonality(distance, lengths), _cumulative(distance, lengths), largest
    )


def row_entropy(piece: torch.Tensor, buffer: Union[torch.Tensor, None] = None) -> torch.Tensor:
    """Σ_q H(A[q]) of maps (…, T, T) without padding, float32 or float64; float64 (…).

    Args:
        buffer: a tensor like ``piece`` to work in; it is overwritten.
    """
    least = torch.finfo(piece.dtype).tiny
    terms = torch.clamp(piece, min=least, out=buffer).log_().mul_(piece)
    return -terms.sum(-1).sum(-1, dtype=torch.float64)


def _largest(piece: torch.Tensor) -> torch.Tensor:
    """Σ_q max_k A[q,k], float64."""
    return piece.amax(-1).sum(-1, dtype=torch.float64)


def _mean_row_entropy(piece: torch.Tensor) -> torch.Tensor:
    mean = piece.sum(-2).to(torch.float64) / piece.shape[-1]
    return torch.special.entr(mean).sum(-1)


def _distance(maps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    result = _empty(maps)
    for where, _, piece in pieces(maps, lengths):
        result[where] = _weighted_distance(piece)
    return result


def _weighted_distance(
    piece: torch.Tensor, buffer: Union[torch.Tensor, None] = None
) -> torch.Tensor:
    """Σ_q Σ_k |q−k| A[q,k], float64."""
    position = torch.arange(piece.shape[-1], dtype=piece.dtype, device=piece.device)
    apart = (position[:, None] - position).abs_()
    terms = torch.mul(piece, apart, out=buffer)
    return terms.sum(-1).sum(-1, dtype=torch.float64)


def _diagonality(distance: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    frames = lengths.to(distance)[:, None]
    return -distance / frames**2


def _cumulative(distance: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    frames = lengths.to(distance)[:, None]
    return 1.0 - distance / (frames * (frames - 1).clamp(min=1))


def _empty(maps: torch.Tensor) -> torch.Tensor:
    return torch.full(maps.shape[:2], math.nan, dtype=torch.float64, device=maps.device)
