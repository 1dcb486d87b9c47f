"""Self-attention of a block: of its own, or with the map of the block it follows."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from espnet_plugin.encoders.full_attention import Bias, attend, attention_map
from espnet_plugin.encoders.local_attention import local_attention, local_maps
from espnet_plugin.encoders.maps import Maps, dense, dropped, mix
from espnet_plugin.encoders.onednn import Linear, adopt
from espnet_plugin.stacks.parameters import columns, keep_inputs, keep_outputs, kept
from espnet_plugin.stacks.state import State


class ValueAttention(nn.Module):
    """What every attention has: values, and an output that joins the heads.

    Attributes:
        heads: those that are left.
        head_size: d, of each.
        width: D, of what comes in and goes out.
        follows: whether it takes the map of the block before it.
        dropout_rate: of the map, in training.
    """

    follows = False

    def __init__(
        self, width: int, heads: int, dropout: float = 0.0, device: Optional[str] = None
    ) -> None:
        super().__init__()
        self.heads, self.head_size, self.width = heads, width // heads, width
        self.dropout_rate = dropout
        self.value = Linear(width, width, device=device)
        self.out = Linear(width, width, device=device)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, H * d) seen as (B, H, T, d)."""
        return x.view(x.size(0), x.size(1), self.heads, self.head_size).transpose(1, 2)

    @property
    def empty(self) -> bool:
        """Whether no head is left for a trace: ONNX has no use for tensors without elements."""
        return not self.heads and torch.jit.is_tracing()

    def join(self, mixed: Tensor) -> Tensor:
        """The output (B, T, D) for what the heads (B, H, T, d) found."""
        return self.out(mixed.transpose(1, 2).flatten(2))

    def prune(self, heads: Sequence[int]) -> Any:
        """The same attention without ``heads``: smaller parameters, of its own.

        What is left equals this attention with the maps of ``heads`` multiplied by zero.

        Raises:
            ValueError: a head that is not there.
        """
        return self._keep(kept(self.heads, heads))

    def _keep(self, heads: Sequence[int]) -> Any:
        attention: Any = adopt(type(self), self)
        index = columns(heads, self.head_size)
        attention.heads = len(heads)
        attention.value = keep_outputs(self.value, index)
        attention.out = keep_inputs(self.out, index)
        return attention


class FollowerAttention(ValueAttention):
    """Applies the map of the last leader to its own values; has neither queries nor keys."""

    follows = True

    def forward(self, x: Tensor, state: State) -> Tuple[Tensor, Optional[Maps]]:
        """As :meth:`SelfAttention.forward`; the map is the one in ``state``."""
        maps = state.maps
        if self.empty:
            return self.out.bias.expand_as(x), maps
        if maps is None:
            raise ValueError("a block that reuses an attention map has none before it")
        if state.look is not None:
            state.look(dense(maps))
        return self.join(mix(maps, self.split(self.value(x)))), maps

    def follower(self) -> FollowerAttention:
        """This attention: it follows already."""
        return self


class SelfAttention(ValueAttention):
    """softmax(Q K^T / sqrt(d)) V with projections that have biases, as in BERT."""

    def __init__(
        self, width: int, heads: int, dropout: float = 0.0, device: Optional[str] = None
    ) -> None:
        super().__init__(width, heads, dropout, device)
        self.query = Linear(width, width, device=device)
        self.key = Linear(width, width, device=device)

    def forward(self, x: Tensor, state: State) -> Tuple[Tensor, Optional[Maps]]:
        """Attend.

        Args:
            x: (B, T, D).
            state: its mask, window and positions count; the map is made only if it asks for one.

        Returns:
            (B, T, D); and the map (B, H, T, T) after dropout, or None where nobody asks.
        """
        if self.empty:
            return self.out.bias.expand_as(x), None
        query, key, value = (self.split(layer(x)) for layer in (self.query, self.key, self.value))
        bias = self.bias(x, state)
        if not state.explicit and self.heads:
            return self.join(self.attend(query, key, value, bias, state)), None
        maps = self.maps(query, key, bias, state)
        if state.edit is not None:
            maps = state.edit(dense(maps))
        if state.look is not None:
            state.look(dense(maps))
        maps = dropped(maps, self.dropout_rate if self.training else 0.0)
        return self.join(mix(maps, value)), maps

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Optional[Bias], state: State
    ) -> Tensor:
        """What the heads find, (B, H, T, d), without a map; arguments (B, H, T, d)."""
        dropout = self.dropout_rate if self.training else 0.0
        near = state.near
        if near is None:
            return attend(query, key, value, state.mask, bias, dropout)
        band = None if bias is None else bias.band(near)
        query = query * self.head_size**-0.5
        return local_attention(query, key, value, near, band, state.ends, dropout)

    def maps(self, query: Tensor, key: Tensor, bias: Optional[Bias], state: State) -> Maps:
        """The map (B, H, T, T) after softmax, before dropout; arguments (B, H, T, d)."""
        near = state.near
        if near is None or not self.heads:
            return attention_map(query, key, state.mask, bias)
        band = None if bias is None else bias.band(near)
        return local_maps(query * self.head_size**-0.5, key, near, band, state.ends)

    def bias(self, x: Tensor, state: State) -> Optional[Bias]:
        """What is added to the logits: nothing."""
        return None

    def follower(self) -> FollowerAttention:
        """An attention with this one's values and output that takes another block's map."""
        follower: FollowerAttention = adopt(FollowerAttention, self)
        follower._modules = {name: self._modules[name] for name in ("value", "out")}
        follower._parameters = {}
        return follower

    def _keep(self, heads: Sequence[int]) -> Any:
        attention = super()._keep(heads)
        index = columns(heads, self.head_size)
        attention.query = keep_outputs(self.query, index)
        attention.key = keep_outputs(self.key, index)
        return attention
