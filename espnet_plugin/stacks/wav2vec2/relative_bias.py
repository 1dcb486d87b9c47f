"""WavLM's bias by the distance between query and key."""

from __future__ import annotations

import math
from typing import Optional

import torch
from torch import Tensor, nn


class RelativeBias(nn.Module):
    """A table of biases, one per bucket of distances and head, that all blocks share.

    Chen et al. 2022 (arXiv 2110.13900), formula (5): small distances have a bucket each, larger
    ones share buckets that widen logarithmically; keys behind and ahead have one half each.

    Args:
        buckets: of both directions.
        max_distance: frames from which on all distances share the last bucket.
        heads: of the unedited stack.
    """

    def __init__(
        self, buckets: int, max_distance: int, heads: int, device: Optional[str] = None
    ) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.weight = nn.Parameter(torch.zeros(buckets, heads, device=device))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, frames: int) -> Tensor:
        """The bias of each distance key - query from ``1 - frames`` to ``frames - 1``.

        Returns:
            (H, 2 * frames - 1).
        """
        distances = torch.arange(1 - frames, frames, device=self.weight.device)
        return self.weight[self.bucket(distances)].t().contiguous()

    def bucket(self, distances: Tensor) -> Tensor:
        """The row of the table for each distance (int64, of any shape)."""
        half = self.weight.size(0) // 2
        exact = half // 2
        far = distances.abs()
        log = torch.log(far.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        shared = (exact + (log * (half - exact)).to(torch.int64)).clamp(max=half - 1)
        return torch.where(far < exact, far, shared) + half * (distances > 0)


def by_query(bias: Tensor) -> Tensor:
    """The bias (H, 2T-1) of each distance, as :class:`RelativeBias` gives it, written out.

    Returns:
        (H, T, T), query by key.
    """
    frames = (bias.size(-1) + 1) // 2
    if torch.jit.is_tracing():  # a window of unfold must have one size
        distances = torch.arange(frames) - torch.arange(frames).unsqueeze(1)
        return bias[:, distances + frames - 1]
    return bias.unfold(-1, frames, 1).flip(1)  # row r begins at the distance r - (T-1)


def by_some_queries(bias: Tensor, first: int, last: int) -> Tensor:
    """Rows ``first`` to ``last - 1`` of :func:`by_query`, (last - first, H, T), a view.

    Each of so many copies of the biases is seen one step on; there is no gradient.
    """
    frames, rows = (bias.size(-1) + 1) // 2, last - first
    near = bias[:, frames - last : 2 * frames - 1 - first]
    heads, reach = near.shape
    copies = near.expand(rows, heads, reach).contiguous()
    return copies.as_strided((rows, heads, frames), (heads * reach - 1, reach, 1), rows - 1)
