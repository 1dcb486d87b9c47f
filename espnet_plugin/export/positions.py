"""ESPnet's sinusoidal positions, computed for the length at hand and not cut out of a table."""

from __future__ import annotations

import copy
import math
from typing import Any, Tuple, Union

import torch
from espnet2.asr.encoder import conformer_encoder, transformer_encoder
from torch import Tensor, nn

from espnet_plugin.compat import RelPositionalEncoding

_LEGACY = conformer_encoder.LegacyRelPositionalEncoding
_ABSOLUTE = transformer_encoder.PositionalEncoding


class Positions(nn.Module):
    """What one of ESPnet's three positional encodings computes.

    Args:
        source: ``PositionalEncoding``, ``RelPositionalEncoding`` or
            ``LegacyRelPositionalEncoding``.
    """

    rates: Tensor

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.kind = type(source)
        self.scale: float = source.xscale
        self.rows: int = source.pe.size(1)
        steps = torch.arange(0, source.d_model, 2, dtype=torch.float32)
        self.register_buffer("rates", torch.exp(steps * -(math.log(10000.0) / source.d_model)))

    def forward(self, x: Tensor) -> Union[Tensor, Tuple[Tensor, Tensor]]:
        """(B, T, D) to the same, and the embedding of positions where they are relative."""
        time, x = x.size(1), x * self.scale
        if self.kind is RelPositionalEncoding:
            places = torch.arange(2 * time - 1, device=x.device)
            return x, self._embed(time - 1 - places)
        places = torch.arange(time, device=x.device)
        if self.kind is _ABSOLUTE:
            return x + self._embed(places)
        # the legacy table is read from its beginning, which is its last position
        last = torch.clamp(torch.as_tensor(time), min=self.rows) - 1
        return x, self._embed(last - places)

    def _embed(self, positions: Tensor) -> Tensor:
        """(n,) to (1, n, D)."""
        angles = positions.float().unsqueeze(1) * self.rates
        return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2).unsqueeze(0)


def with_positions(embedding: Any) -> Any:
    """A copy of an encoder's ``embed``, around the same parameters, with :class:`Positions`."""
    if embedding is None:
        return None
    tensors = [*embedding.parameters(), *embedding.buffers()]
    changed = copy.deepcopy(embedding, {id(tensor): tensor for tensor in tensors})
    for parent in list(changed.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in (_ABSOLUTE, RelPositionalEncoding, _LEGACY):
                setattr(parent, name, Positions(child))
    return changed
