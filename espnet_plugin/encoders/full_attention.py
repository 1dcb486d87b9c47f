"""Attention of every frame to every frame, without holding its map where nobody asks for it."""

from __future__ import annotations

from typing import Any, Optional, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from espnet_plugin.encoders import onednn

LOGITS = 2**19
"""About how many logits, of all heads together, a stretch of queries has."""


class Bias(Protocol):
    """What is added to the logits, made for as many of them as are needed at a time."""

    def __call__(self, first: int, last: int) -> Tensor:
        """For the queries ``first`` to ``last - 1`` and every key: (B, H, last - first, T)."""

    def band(self, window: int) -> Tensor:
        """For the keys at most ``window < T`` frames away: (B, H, T, 2 * window + 1)."""


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Optional[Tensor] = None,
    bias: Optional[Bias] = None,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(Q K^T / sqrt(d) + bias) V.

    torch's own fused kernel where torch has one (from 2.0); in inference on the CPU a stretch of
    queries at a time through oneDNN, each utterance at its own length.

    Args:
        query, key, value: (B, H, T, d), H >= 1.
        mask: (B, T), true on valid frames, the first of each utterance; None: all are.
        bias: see :class:`Bias`.
        dropout: probability, of the map.

    Returns:
        (B, H, T, d); what it holds on padded queries means nothing.
    """
    if dropout == 0 and onednn.usable(query):
        return _by_stretches(query, key, value, mask, bias)
    fused: Any = getattr(functional, "scaled_dot_product_attention", None)
    if fused is None:
        maps = functional.dropout(attention_map(query, key, mask, bias), dropout)
        return torch.matmul(maps, value)
    hidden = None if mask is None else mask[:, None, None, :]
    if bias is not None:
        added = bias(0, query.size(2)).to(query.dtype)
        hidden = added if hidden is None else added.masked_fill(~hidden, float("-inf"))
    return fused(query, key, value, attn_mask=hidden, dropout_p=dropout)


def attention_map(
    query: Tensor, key: Tensor, mask: Optional[Tensor] = None, bias: Optional[Bias] = None
) -> Tensor:
    """softmax(Q K^T / sqrt(d) + bias), (B, H, T, T), zero on padded keys; see :func:`attend`."""
    logits = torch.matmul(query * query.size(-1) ** -0.5, key.transpose(-2, -1))
    if bias is not None:
        logits = logits + bias(0, query.size(2))
    if mask is not None:
        logits = logits.masked_fill(~mask[:, None, None, :], float("-inf"))
    return torch.softmax(logits, dim=-1)


def _by_stretches(
    query: Tensor, key: Tensor, value: Tensor, mask: Optional[Tensor], bias: Optional[Bias]
) -> Tensor:
    batch, heads, time, size = query.shape
    valid = [time] * batch if mask is None else mask.sum(1).tolist()
    query = query.transpose(1, 2) * size**-0.5
    mixed = query.new_zeros(batch, time, heads * size)
    rows = max(16, LOGITS // (heads * time))
    for first in range(0, time, rows):
        stretch = None if bias is None else bias(first, min(first + rows, time))
        for b, length in enumerate(valid):
            last = min(first + rows, length)
            if first >= last:
                continue
            keys = key[b, :, :length].reshape(heads * length, size)
            values = value[b, :, :length].transpose(1, 2).reshape(heads * size, length)
            queries = query[b, first:last].reshape(last - first, heads * size)
            logits = onednn.linear(queries, keys, groups=heads).view(-1, heads, length)
            if stretch is not None:
                logits += stretch[b, :, : last - first, :length].transpose(0, 1)
            maps = torch.softmax(logits, dim=-1).view(last - first, heads * length)
            mixed[b, first:last] = onednn.linear(maps, values, groups=heads)
    return mixed.view(batch, time, heads, size).transpose(1, 2)
