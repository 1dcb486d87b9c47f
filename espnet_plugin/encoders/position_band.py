"""The part of ESPnet's relative positions that a window leaves, made without the rest."""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad


def position_band(
    by_place: Tensor,
    pos_emb: Tensor,
    relative: Callable[[Tensor], Tensor],
    window: int,
    positions: str,
) -> Tensor:
    """(q + v) · p by query and distance (Dai et al., "Transformer-XL", 2019, section 3.3).

    Args:
        by_place: q + v, (B, H, T, d), scaled.
        pos_emb: (1, 2T-1, size), entry c for the distance T-1-c; legacy (1, T, size).
        relative: makes p of them, (1, n, size) to (1, H, n, d).
        window: from 1 to T - 1.
        positions: "relative" or "legacy".

    Returns:
        (B, H, T, 2 * window + 1): entry m of query q is for key q + m - window.
    """
    time, first = by_place.size(-2), 0
    if torch.jit.is_tracing():  # the trace serves utterances shorter than the window too
        pos_emb, first = pad(pos_emb, (0, 0, window, window)), window
    here = first + time - 1
    if positions == "relative":
        near = relative(pos_emb[:, here - window : here + window + 1])
        return torch.matmul(by_place, near.transpose(-2, -1))
    # ESPnet's shift up to pull request 2816: the upper triangle wraps to the next query
    near = relative(pos_emb[:, here - window : here + 1])
    behind = torch.matmul(by_place, near.transpose(-2, -1))
    after_next = relative(pos_emb[:, first : first + window - 1]).transpose(-2, -1)
    ahead = torch.matmul(pad(by_place[..., 1:, :], (0, 0, 0, 1)), after_next)
    return torch.cat((behind, pad(ahead, (1, 0))), dim=-1)
