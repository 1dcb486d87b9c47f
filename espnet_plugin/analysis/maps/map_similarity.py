"""Jensen–Shannon similarity of attention maps: how alike two blocks attend.

For two rows P and Q of maps of the same utterance, head and query frame,
``1 − JSD(P, Q)/ln 2`` with ``JSD = H((P+Q)/2) − (H(P)+H(Q))/2``: 1 for equal rows, 0 for rows
that share no key. It is averaged over the valid rows, the heads (head h with head h, because
a follower's head h takes the leader's head h) and the utterances.

Source: Xiao et al., "Sharing Attention Weights for Fast Transformer", IJCAI 2019 (arXiv
1906.11024); the averaging over heads and frames is our reading of it [I].
"""

from __future__ import annotations

import math
from typing import Sequence

import torch

from espnet_plugin.analysis.attention import row_entropy
from espnet_plugin.analysis.maps.pieces import Lengths, check_maps, piece_slices


def js_similarity(first: torch.Tensor, second: torch.Tensor, lengths: Lengths) -> torch.Tensor:
    """Similarity of two batches of maps of the same utterances, by utterance and head.

    Args:
        first, second: (B, H, T, T) each, floating, rows sum to 1.
        lengths: (B,) valid frames, 1 to T.

    Returns:
        (B, H) float64; precision as in :mod:`espnet_plugin.analysis.attention`.

    Raises:
        TypeError, ValueError: shapes, types or lengths that do not fit.
    """
    return pairwise_similarity([first, second], lengths)[0, 1]


@torch.no_grad()
def pairwise_similarity(blocks: Sequence[torch.Tensor], lengths: Lengths) -> torch.Tensor:
    """Similarity of all pairs of L blocks' maps.

    Args:
        blocks: L tensors (B, H, T, T) of one shape, type and device: memory for the maps of all
            blocks of one batch at once.
        lengths: (B,) valid frames.

    Returns:
        (L, L, B, H) float64, symmetric, ones on the diagonal.

    Raises:
        TypeError, ValueError: shapes, types or lengths that do not fit.
    """
    first = blocks[0]
    for block in blocks:
        if block.shape != first.shape or block.dtype != first.dtype:
            raise ValueError(
                "maps to compare must have one shape and type, not "
                f"{tuple(first.shape)} {first.dtype} and {tuple(block.shape)} {block.dtype}"
            )
    lengths = check_maps(first, lengths)
    count = len(blocks)
    work = torch.float64 if first.dtype == torch.float64 else torch.float32
    result = torch.ones(count, count, *first.shape[:2], dtype=torch.float64, device=first.device)
    for where, frames in piece_slices(first.shape[1], lengths, first.is_cuda):
        maps = [block.detach()[where][..., :frames, :frames].to(work) for block in blocks]
        own = [row_entropy(piece) for piece in maps]
        mixed, buffer = (torch.empty(maps[0].shape, dtype=work, device=first.device) for _ in "ab")
        for i in range(count):
            for j in range(i + 1, count):
                torch.add(maps[i], maps[j], out=mixed).mul_(0.5)
                divergence = (row_entropy(mixed, buffer) - (own[i] + own[j]) / 2) / frames
                result[(i, j) + where] = result[(j, i) + where] = 1 - divergence / math.log(2)
    return result
