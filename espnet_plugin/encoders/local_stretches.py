"""Attention within a window a stretch of queries at a time, for inference on the CPU.

The logits of a stretch stay in the processor's cache, and the products go through oneDNN. Of the
products of a stretch of queries with all the keys that any of them reaches, the softmax sees the
band alone, as a view.
"""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor
from torch.nn.functional import pad

from espnet_plugin.encoders import onednn

LEAST_ROWS = 128
"""Queries in a stretch at least."""


def local_stretches(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: int,
    bias: Optional[Tensor] = None,
    lengths: Optional[Tensor] = None,
) -> Tensor:
    """What :func:`~espnet_plugin.encoders.local_attention.local_attention` returns, faster.

    Arguments as there, without dropout; H >= 1.
    """
    batch, heads, time, size = query.shape
    mixed = query.new_zeros(batch, time, heads, size)
    rows = min(max(window, LEAST_ROWS), time)
    for b, length in enumerate([time] * batch if lengths is None else lengths.tolist()):
        keys, values = (_padded(x[b, :, :length], window, rows) for x in (key, value))
        values = values.transpose(1, 2)
        weights = query.new_zeros(rows, heads, rows + 2 * window)
        for first in range(0, min(time, length + window), rows):
            count = min(rows, time - first, length + window - first)
            reach = slice(first, first + rows + 2 * window)
            queries = pad(query[b, :, first : first + count], (0, 0, 0, rows - count))
            queries = queries.transpose(0, 1).reshape(rows, heads * size)
            logits = onednn.linear(queries, keys[:, reach].reshape(-1, size), groups=heads)
            band = _band(logits.view(weights.shape), window)[:count]
            if bias is not None:
                terms = bias[min(b, len(bias) - 1)].expand(heads, time, 2 * window + 1)
                band = band + terms[:, first : first + count].transpose(0, 1)
            if first < window or first + count + window > length:
                band = band.masked_fill(_absent(first, count, window, length), float("-inf"))
            _band(weights, window)[:count] = torch.softmax(band, dim=-1)
            found = onednn.linear(
                weights.view(rows, -1), values[:, :, reach].reshape(heads * size, -1), groups=heads
            )
            mixed[b, first : first + count] = found[:count].view(count, heads, size)
    return mixed.transpose(1, 2)


def _padded(x: Tensor, window: int, rows: int) -> Tensor:
    """(H, L, d) with zeros on both sides, so that every stretch finds all it reaches."""
    return pad(x, (0, 0, window, 2 * window + rows))


def _band(x: Tensor, window: int) -> Tensor:
    """Of (C, H, C + 2·window), contiguous, the entries r to r + 2·window of each row r, a view."""
    count, heads, span = x.shape
    strides = (heads * span + 1, span, 1)
    return x.as_strided((count, heads, 2 * window + 1), strides, x.storage_offset())


def _absent(first: int, count: int, window: int, length: int) -> Tensor:
    """(C, 1, 2·window + 1), true where the key is before the beginning or behind the end."""
    key = torch.arange(first, first + count)[:, None] + torch.arange(-window, window + 1)
    return ((key < 0) | (key >= length)).unsqueeze(1)
