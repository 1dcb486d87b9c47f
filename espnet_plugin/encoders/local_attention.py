"""Attention to the frames at most ``window`` away, in time and memory proportional to T·window.

Queries are taken in blocks of about ``window`` frames, each against the keys of its own stretch
and of ``window`` frames on both sides (Beltagy, Peters, Cohan, "Longformer", 2020, section 3.1,
has the like). The softmax runs over the frames inside the window alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

import torch
from torch import Tensor
from torch.nn import functional as F

from espnet_plugin.encoders import onednn
from espnet_plugin.encoders.local_stretches import local_stretches

LEAST_BLOCK = 32
"""Queries in a block at least: products of smaller matrices gain nothing."""


def local_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: int,
    bias: Optional[Tensor] = None,
    lengths: Optional[Tensor] = None,
    dropout: float = 0.0,
) -> Tensor:
    """``softmax(Q Kᵀ + bias) V`` over the keys at most ``window`` frames from the query.

    Args:
        query: (B, H, T, d), scaled already.
        key, value: (B, H, T, d).
        window: frames to either side, 0 or more. From T - 1 on it is full attention.
        bias: terms to add to the logits by relative position, broadcastable to
            (B, H, T, 2·window + 1): entry m of query q is for key q + m - window.
        lengths: valid frames (B,); keys from there on are not attended to. None: all.
        dropout: probability with which a weight is set to zero (the others are scaled up).

    Returns:
        (B, H, T, d). Queries (of padding) that have no valid key in their window give zeros.
    """
    if dropout == 0 and query.size(1) > 0 and onednn.usable(query):
        return local_stretches(query, key, value, window, bias, lengths)
    return local_maps(query, key, window, bias, lengths).dropout(dropout).mix(value)


def local_maps(
    query: Tensor,
    key: Tensor,
    window: int,
    bias: Optional[Tensor] = None,
    lengths: Optional[Tensor] = None,
) -> LocalMaps:
    """The attention map of :func:`local_attention`, of which only the band is kept."""
    blocks = _blocks(query.size(-2), window)
    logits = torch.matmul(blocks.rows(query), blocks.columns(key).transpose(-2, -1))
    if bias is not None:
        logits = logits + blocks.skewed(bias)
    lowest = torch.finfo(logits.dtype).min
    # in place: no gradient needs the logits, and softmax makes exact zeros of the lowest
    weights = torch.softmax(logits.masked_fill_(blocks.hidden(lengths, key), lowest), dim=-1)
    return LocalMaps(weights, blocks, None if lengths is None else blocks.empty(lengths, key))


@dataclass(frozen=True)
class LocalMaps:
    """An attention map (B, H, T, T) that is zero outside of a band."""

    weights: Tensor
    """(B, H, blocks, queries of a block, keys of a block)."""
    blocks: Blocks
    empty: Optional[Tensor]
    """(B, 1, T, 1), true for queries with no valid key in their window; None: there are none."""

    def mix(self, value: Tensor) -> Tensor:
        """The map times ``value`` (B, H, T, d)."""
        mixed = torch.matmul(self.weights, self.blocks.columns(value))
        return self._without_empty(self.blocks.joined(mixed))

    def to(self, dtype: torch.dtype) -> LocalMaps:
        """The map in another type."""
        return replace(self, weights=self.weights.to(dtype))

    def dropout(self, probability: float) -> LocalMaps:
        """The map with weights set to zero at random and the others scaled up."""
        if probability == 0.0:
            return self
        return replace(self, weights=F.dropout(self.weights, probability))

    def dense(self) -> Tensor:
        """The map written out, (B, H, T, T), with exact zeros outside of the window."""
        return self._without_empty(self.blocks.dense(self.weights))

    def _without_empty(self, x: Tensor) -> Tensor:
        return x if self.empty is None else x.masked_fill(self.empty, 0.0)


@dataclass(frozen=True)
class Blocks:
    """T frames in ``count`` blocks of ``size`` queries, each with ``margin`` keys on both sides."""

    time: int
    window: int
    size: int
    count: int
    margin: int

    @property
    def span(self) -> int:
        """Keys of a block."""
        return self.size + 2 * self.margin

    def rows(self, x: Tensor) -> Tensor:
        """(B, H, T, d) to (B, H, count, size, d), zeros behind the end."""
        x = F.pad(x, (0, 0, 0, self.count * self.size - self.time))
        return x.view(*x.shape[:-2], self.count, self.size, x.size(-1))

    def columns(self, x: Tensor) -> Tensor:
        """(B, H, T, d) to (B, H, count, span, d), zeros before the beginning and behind the end."""
        blocks = self.rows(x)
        if self.margin == 0:
            return blocks
        before = F.pad(blocks[..., :-1, -self.margin :, :], (0, 0, 0, 0, 1, 0))
        behind = F.pad(blocks[..., 1:, : self.margin, :], (0, 0, 0, 0, 0, 1))
        return torch.cat((before, blocks, behind), dim=-2)

    def joined(self, x: Tensor) -> Tensor:
        """(B, H, count, size, d) to (B, H, T, d)."""
        return x.flatten(-3, -2).narrow(-2, 0, self.time)

    def skewed(self, band: Tensor) -> Tensor:
        """Terms by relative position (…, T, 2·window + 1) to (…, count, size, span).

        What is outside of the window gets zeros.
        """
        band = band.expand(*band.shape[:-2], self.time, 2 * self.window + 1)
        terms = shifted(self.rows(band), self.size + 2 * self.window, step=1)
        return terms.narrow(-1, self.window - self.margin, self.span)

    def dense(self, weights: Tensor) -> Tensor:
        """(B, H, count, size, span) to (B, H, T, T)."""
        by_row = weights.transpose(-3, -2)
        wide = shifted(by_row, self.count * self.size + 2 * self.margin, step=self.size)
        maps = wide.transpose(-3, -2).flatten(-3, -2)
        return maps[..., : self.time, self.margin : self.margin + self.time]

    def hidden(self, lengths: Optional[Tensor], like: Tensor) -> Tensor:
        """(B or 1, 1, count, size, span), true where a key is outside of the window or no frame."""
        column = torch.arange(self.span, device=like.device) - self.margin
        distance = column - torch.arange(self.size, device=like.device)[:, None]
        first = torch.arange(self.count, device=like.device)[:, None, None] * self.size
        frame = first + column
        if lengths is None:
            absent = (frame < 0) | (frame >= self.time)
        else:
            absent = (frame < 0) | (frame >= lengths.to(like.device)[:, None, None, None, None])
        return absent | (distance.abs() > self.window)

    def empty(self, lengths: Tensor, like: Tensor) -> Tensor:
        """(B, 1, T, 1), true for queries with no valid key in their window."""
        frames = torch.arange(self.time, device=like.device)[:, None]
        return frames - self.window >= lengths.to(like.device)[:, None, None, None]


def _blocks(time: int, window: int) -> Blocks:
    size = max(window, LEAST_BLOCK)
    if not torch.jit.is_tracing() and time <= size + 2 * window:  # one block has fewer keys
        return Blocks(time, window, time, 1, 0)
    return Blocks(time, window, size, (time + size - 1) // size, window)


def shifted(x: Tensor, width: int, step: int) -> Tensor:
    """Row i moved ``step``·i columns to the right, zeros where nothing came from.

    Args:
        x: (..., rows, columns).
        width: columns of the result, at least columns + step·(rows - 1).

    Returns:
        (..., rows, width).
    """
    rows = x.size(-2)
    wide = F.pad(x, (0, width + step - x.size(-1))).flatten(-2)
    return wide.narrow(-1, 0, rows * width).view(*x.shape[:-1], width)
