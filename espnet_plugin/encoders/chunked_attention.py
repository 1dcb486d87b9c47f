"""The attention map a stretch of queries at a time, for inference on the CPU.

The logits of a stretch stay in the processor's cache from the products to the softmax, and the
relative positions that no query of the stretch can reach are left out: T + C - 1 of 2T - 1.
Heads are groups of one product, so that nothing is transposed. Maps are stored (B, T, H, T),
query, head, key, and shown as (B, H, T, T).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, List, Optional

import torch
from torch import Tensor

from espnet_plugin.encoders import onednn

if TYPE_CHECKING:
    from espnet_plugin.encoders.attention import LeaderAttention

LOGITS = 2**19
"""About how many logits, of all heads together, a stretch of queries has."""


def chunked_maps(
    leader: LeaderAttention, x: Tensor, pos_emb: Optional[Tensor], mask: Optional[Tensor]
) -> Tensor:
    """What :meth:`LeaderAttention.maps` returns, faster.

    Args:
        leader: the attention; not with ``zero_triu``.
        x: (B, T, size).
        pos_emb: (1, 2T-1, size), legacy (1, T, size), or None for absolute positions.
        mask: (B, 1, T), true on real frames, or None where nothing is padded.

    Returns:
        (B, H, T, T), a view of a contiguous (B, T, H, T).
    """
    batch, time, _ = x.shape
    heads, width = leader.h, leader.d_k
    query = leader.q_norm(leader.linear_q(x).view(batch, time, heads, width))
    query = query * (1.0 / math.sqrt(width))
    keys = leader.k_norm(leader.linear_k(x).view(batch, time, heads, width)).transpose(1, 2)
    by_content, by_place, places = query, query, None
    if pos_emb is not None:
        scale = 1.0 / math.sqrt(width)
        by_content = query + leader.pos_bias_u * scale
        by_place = query + leader.pos_bias_v * scale
        places = leader.linear_pos(pos_emb).view(-1, heads, width).transpose(0, 1)
    hidden = None if mask is None else mask.eq(0).unsqueeze(1)  # (B, 1, 1, T)

    maps = x.new_empty(batch, time, heads, time)
    rows = max(16, LOGITS // (heads * time))
    for first in range(0, time, rows):
        last = min(first + rows, time)
        near = None if places is None else _near(leader.positions, places, first, last, time)
        for b in range(batch):
            logits = _product(by_content[b, first:last], keys[b])
            if near is not None:
                place = _product(_rows(leader.positions, by_place[b], first, last), near)
                logits += _shift(leader.positions, place, first, last, time)
            if hidden is not None:
                logits.masked_fill_(hidden[b], torch.finfo(logits.dtype).min)
            torch.softmax(logits, dim=-1, out=maps[b, first:last])
    return maps.transpose(1, 2)


def chunked_mix(maps: Tensor, value: Tensor) -> Tensor:
    """concat_h(A_h V_h).

    Args:
        maps: (B, H, T, T).
        value: (B, T, H * d_k).

    Returns:
        (B, T, H * d_k).
    """
    batch, heads, time, _ = maps.shape
    rows = maps.transpose(1, 2).reshape(batch, time, heads * time)
    columns = value.transpose(1, 2)
    mixed: List[Tensor] = [onednn.linear(rows[b], columns[b], groups=heads) for b in range(batch)]
    return torch.stack(mixed)


def _product(queries: Tensor, keys: Tensor) -> Tensor:
    """(C, H, d_k) and (H, M, d_k) to (C, H, M)."""
    heads, count, width = keys.shape
    flat = queries.reshape(queries.size(0), heads * width)
    product = onednn.linear(flat, keys.reshape(heads * count, width), groups=heads)
    return product.view(-1, heads, count)


def _near(positions: str, places: Tensor, first: int, last: int, time: int) -> Tensor:
    """The positions (H, M, d_k) that queries ``first`` to ``last`` - 1 can reach."""
    if positions == "legacy":
        return torch.nn.functional.pad(places, (0, 0, 1, 0))
    return places[:, time - last : 2 * time - 1 - first]


def _rows(positions: str, by_place: Tensor, first: int, last: int) -> Tensor:
    """The queries that the shifted rows ``first`` to ``last`` - 1 read."""
    return by_place[first : last + 1] if positions == "legacy" else by_place[first:last]


def _shift(positions: str, place: Tensor, first: int, last: int, time: int) -> Tensor:
    """(C, H, M) to (C, H, T): each row by its own distance, as in ``attention.py``, a view."""
    count, heads = last - first, place.size(1)
    if positions == "legacy":
        by_head = place.transpose(0, 1).contiguous()
        stride = (time, by_head.size(1) * (time + 1), 1)
        offset = by_head.storage_offset() + time - first
        return by_head.as_strided((count, heads, time), stride, offset)
    reach = place.size(2)
    offset = place.storage_offset() + count - 1
    return place.as_strided((count, heads, time), (heads * reach - 1, reach, 1), offset)
