"""Attention of every frame to every frame, without holding its map where nobody asks for it."""

from __future__ import annotations

from typing import Any, Optional, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from espnet_plugin.encoders import onednn

QUERIES, HEADS = 256, 4
"""How many queries and heads are together in one product in inference on the CPU: their logits
stay in the processor's cache up to the softmax and the values."""


class Bias(Protocol):
    """What is added to the logits, made for as many of them as are needed at a time."""

    def whole(self) -> Tensor:
        """For every query and key: (B, H, T, T)."""

    def add(self, logits: Tensor, utterance: int, heads: slice, first: int) -> None:
        """Add in place, without a gradient, to an utterance's logits (C, h, T'): those of some
        heads, of the queries from ``first`` on, on the first keys."""

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

    In inference on the CPU it goes by stretches of queries, through oneDNN, each utterance at its
    own length, in every torch as fast as the fused kernel of torch 2; elsewhere through that
    kernel, and in torch 1 by the map.

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
    if fused is None or torch.jit.is_tracing():
        maps = functional.dropout(attention_map(query, key, mask, bias), dropout)
        return torch.matmul(maps, value)
    hidden = None if mask is None else mask[:, None, None, :]
    if bias is not None:
        added = bias.whole().to(query.dtype)
        hidden = added if hidden is None else added.masked_fill(~hidden, float("-inf"))
    return fused(query, key, value, attn_mask=hidden, dropout_p=dropout)


def attention_map(
    query: Tensor, key: Tensor, mask: Optional[Tensor] = None, bias: Optional[Bias] = None
) -> Tensor:
    """softmax(Q K^T / sqrt(d) + bias), (B, H, T, T), zero on padded keys; see :func:`attend`."""
    logits = torch.matmul(query * query.size(-1) ** -0.5, key.transpose(-2, -1))
    if bias is not None:
        logits = logits + bias.whole()
    if mask is not None:
        logits = logits.masked_fill(~mask[:, None, None, :], float("-inf"))
    return torch.softmax(logits, dim=-1)


def _by_stretches(
    query: Tensor, key: Tensor, value: Tensor, mask: Optional[Tensor], bias: Optional[Bias]
) -> Tensor:
    batch, heads, time, size = query.shape
    lengths = [time] * batch if mask is None else mask.sum(1).tolist()
    groups = [slice(first, min(first + HEADS, heads)) for first in range(0, heads, HEADS)]
    query = query.transpose(1, 2) * size**-0.5  # (B, T, H, d)
    mixed = query.new_zeros(query.shape)
    for first in range(0, time, QUERIES):
        for b, length in enumerate(lengths):
            rows = slice(first, min(first + QUERIES, length))
            for group in groups if first < length else ():
                logits = _logits(query[b, rows, group], key[b, group, :length])
                if bias is not None:
                    bias.add(logits, b, group, first)
                mixed[b, rows, group] = _mix(logits.softmax(-1), value[b, group, :length])
    return mixed.transpose(1, 2)


def _logits(query: Tensor, key: Tensor) -> Tensor:
    """(C, H, d) and (H, T, d) to (C, H, T)."""
    heads, time, size = key.shape
    product = onednn.linear(query.flatten(1), key.reshape(heads * time, size), groups=heads)
    return product.view(-1, heads, time)


def _mix(maps: Tensor, value: Tensor) -> Tensor:
    """(C, H, T) and (H, T, d) to (C, H, d)."""
    heads, time, size = value.shape
    columns = value.transpose(1, 2).reshape(heads * size, time)
    return onednn.linear(maps.flatten(1), columns, groups=heads).view(-1, heads, size)
