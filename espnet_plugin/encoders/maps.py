"""Attention maps, whole or banded, applied to values."""

from __future__ import annotations

from typing import Union

import torch
from torch import Tensor
from torch.nn import functional

from espnet_plugin.encoders.local_attention import LocalMaps

Maps = Union[Tensor, LocalMaps]
"""(B, H, T, T), written out or only the band that a window leaves."""


def mix(maps: Maps, value: Tensor) -> Tensor:
    """The maps times ``value`` (B, H, T, d)."""
    return maps.mix(value) if isinstance(maps, LocalMaps) else torch.matmul(maps, value)


def dense(maps: Maps) -> Tensor:
    """The maps written out, (B, H, T, T)."""
    return maps.dense() if isinstance(maps, LocalMaps) else maps


def dropped(maps: Maps, probability: float) -> Maps:
    """The maps with weights set to zero at random and the others scaled up."""
    if isinstance(maps, LocalMaps):
        return maps.dropout(probability)
    return functional.dropout(maps, probability) if probability > 0 else maps
