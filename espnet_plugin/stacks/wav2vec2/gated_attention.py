"""WavLM's self-attention: each query scales the bias by distance with a gate of its own."""

from __future__ import annotations

from typing import Any, Optional, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import pad

from espnet_plugin.encoders.full_attention import Bias
from espnet_plugin.stacks.parameters import select
from espnet_plugin.stacks.state import State
from espnet_plugin.stacks.wav2vec2.attention import SelfAttention
from espnet_plugin.stacks.wav2vec2.relative_bias import by_query, by_some_queries


class GatedBias:
    """A :class:`~espnet_plugin.encoders.full_attention.Bias`.

    Attributes:
        gate: (B, H, T), the factor of each query.
        by_distance: (H, 2T-1), the bias of each distance key - query from 1 - T to T - 1.
    """

    def __init__(self, gate: Tensor, by_distance: Tensor) -> None:
        self.gate = gate
        self.by_distance = by_distance

    def whole(self) -> Tensor:
        """(B, H, T, T)."""
        return self.gate[..., None] * by_query(self.by_distance)

    def add(self, logits: Tensor, utterance: int, heads: slice, first: int) -> None:
        """Add to ``logits`` (C, h, T' <= T), in place."""
        last = first + logits.size(0)
        rows = by_some_queries(self.by_distance[heads], first, last)
        gate = self.gate[utterance, heads, first:last].t()
        logits.addcmul_(gate[..., None], rows[..., : logits.size(2)])

    def band(self, window: int) -> Tensor:
        """(B, H, T, 2 * window + 1)."""
        time, by_distance = self.gate.size(-1), self.by_distance
        if torch.jit.is_tracing():  # the trace serves utterances shorter than the window too
            near = pad(by_distance, (window, window))[:, time - 1 : time + 2 * window]
        else:
            near = by_distance[:, time - 1 - window : time + window]
        return self.gate[..., None] * near[:, None, :]


class GatedAttention(SelfAttention):
    """Self-attention with a gated relative position bias (arXiv 2110.13900, section III-B).

    Attributes:
        gate: 8 values of each head's part of the input, four to a gate; None: no heads are left.
        gate_scale: (H,), of the second gate.
        places: the number of each head that is left in the unedited block: the gates read the part
            of the input, and the table's column, with that number.
    """

    def __init__(
        self, width: int, heads: int, dropout: float = 0.0, device: Optional[str] = None
    ) -> None:
        super().__init__(width, heads, dropout, device)
        self.gate: Optional[nn.Linear] = nn.Linear(self.head_size, 8, device=device)
        self.gate_scale = nn.Parameter(torch.ones(heads, device=device))
        self.places: Sequence[int] = tuple(range(heads))

    def bias(self, x: Tensor, state: State) -> Optional[Bias]:
        """The table's biases in ``state.positions``, (heads of the unedited block, 2T-1), gated."""
        if self.gate is None:
            return None
        assert state.positions is not None
        parts, by_distance = x.view(*x.shape[:2], -1, self.head_size), state.positions
        if self.heads < parts.size(2):
            index = torch.tensor(self.places, dtype=torch.int64, device=x.device)
            parts, by_distance = parts.index_select(2, index), by_distance.index_select(0, index)
        weight = self.gate.weight.view(2, 4, -1).sum(1)
        gates = functional.linear(parts, weight, self.gate.bias.view(2, 4).sum(1)).sigmoid()
        first, second = gates.unbind(-1)
        gate = first * (second * self.gate_scale - 1.0) + 2.0
        return GatedBias(gate.transpose(1, 2), by_distance)

    def _keep(self, heads: Sequence[int]) -> Any:
        attention = super()._keep(heads)
        attention.gate_scale = select(self.gate_scale, heads, 0)
        attention.places = tuple(self.places[head] for head in heads)
        if not heads:
            attention.gate = None
        return attention
