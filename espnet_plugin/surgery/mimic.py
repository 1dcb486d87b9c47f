"""Small networks that take the place of a run of blocks and imitate what it computes.

Dorszewski, Jacobsen, Tětková, Hansen, "How redundant is the transformer stack in speech
representation models?" (ICASSP 2025, arXiv 2409.16302): mimicking layers, linear (per frame) or
transformer encoder layers. That ``hidden`` of a transformer layer is the width of its feed-forward
network is an inference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, List, Optional

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from espnet_plugin.encoders.full_attention import attend
from espnet_plugin.encoders.onednn import Linear
from espnet_plugin.stacks.state import State


class LinearLayer(nn.Module):
    """``W' ReLU(LN(W x))`` for each frame by itself; W: width → hidden, W': hidden → width."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.contract = Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.expand = Linear(hidden, width)

    def forward(self, x: Tensor, mask: Optional[Tensor]) -> Tensor:
        """(B, T, width) to the same; the mask has no part in it."""
        return self.expand(self.norm(self.contract(x)).relu())


class TransformerLayer(nn.Module):
    """A transformer encoder layer of the stack's width, normalised after its parts.

    Args:
        hidden: width of the feed-forward network.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        heads = next(n for n in range(max(1, width // 64), 0, -1) if width % n == 0)
        self.layer = nn.TransformerEncoderLayer(width, heads, hidden, batch_first=True)

    def forward(self, x: Tensor, mask: Optional[Tensor]) -> Tensor:
        """(B, T, width) to the same; frames where ``mask`` (B, T) is false are not attended to."""
        if torch.jit.is_tracing():
            return self._written_out(x, mask)
        return self.layer(x, src_key_padding_mask=None if mask is None else ~mask)

    def _written_out(self, x: Tensor, mask: Optional[Tensor]) -> Tensor:
        """The same in evaluation, in operations whose trace serves every length."""
        layer: Any = self.layer
        attention = layer.self_attn
        heads = (*x.shape[:2], attention.num_heads, attention.head_dim)
        projected = linear(x, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = (part.view(heads).transpose(1, 2) for part in projected.chunk(3, -1))
        mixed = attend(query, key, value, mask).transpose(1, 2).flatten(2)
        x = layer.norm1(x + attention.out_proj(mixed))
        return layer.norm2(x + layer.linear2(layer.linear1(x).relu()))


class MimicBlock(nn.Module):
    """``layers`` layers one after the other, in the place of blocks.

    Args:
        width: of the hidden states.
        hidden: of the layers inside.
        layers: how many.
        kind: "linear" or "transformer"; a transformer layer has a head for each 64 of ``width``.

    Attributes:
        attention: None; there is no map to look at or to hand on.
    """

    attention = None

    def __init__(self, width: int, hidden: int, layers: int, kind: str = "linear") -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            LinearLayer(width, hidden) if kind == "linear" else TransformerLayer(width, hidden)
            for _ in range(layers)
        )

    def outputs(self, x: Tensor, mask: Optional[Tensor] = None) -> List[Tensor]:
        """What each layer gives, (B, T, width) each: a, b, … of the method.

        Args:
            x: (B, T, width).
            mask: (B, T), true on valid frames, or None where nothing is padded.
        """
        outputs = []
        for layer in self.layers:
            x = layer(x, mask)
            outputs.append(x)
        return outputs

    def forward(self, state: State) -> State:
        """The state with the last layer's output; no map is handed on."""
        return replace(state, x=self.outputs(state.x, state.mask)[-1], maps=None)
