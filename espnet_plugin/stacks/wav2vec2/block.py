"""A transformer block of wav2vec 2.0, HuBERT or WavLM."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import torch
from torch import Tensor, nn

from espnet_plugin.encoders.activation import gelu
from espnet_plugin.encoders.onednn import Linear
from espnet_plugin.stacks.state import State
from espnet_plugin.stacks.wav2vec2.attention import SelfAttention
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.gated_attention import GatedAttention


class FeedForward(nn.Module):
    """contract(gelu(expand(x)))."""

    def __init__(
        self, width: int, inner: int, dropout: float = 0.0, device: Optional[str] = None
    ) -> None:
        super().__init__()
        self.expand = Linear(width, inner, device=device)
        self.contract = Linear(inner, width, device=device)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to the same."""
        return self.contract(self.dropout(gelu(self.expand(x))))


class Block(nn.Module):
    """Attention and feed-forward network with residuals.

    The norms come after the sums (base models), or before the parts where ``norm_first``.

    In training the block is skipped with probability ``layer_drop``; one that leads still makes the
    map for its followers, from its own input.
    """

    def __init__(self, config: Wav2Vec2Config, device: Optional[str] = None) -> None:
        super().__init__()
        kind = GatedAttention if config.family == "wavlm" else SelfAttention
        self.attention: nn.Module = kind(
            config.width, config.heads, config.attention_dropout, device
        )
        self.attention_norm = nn.LayerNorm(config.width, device=device)
        self.feed_forward = FeedForward(
            config.width, config.feed_forward, config.activation_dropout, device
        )
        self.feed_forward_norm = nn.LayerNorm(config.width, device=device)
        self.dropout = nn.Dropout(config.dropout)
        self.norm_first = config.norm_first
        self.layer_drop = config.layer_drop

    def forward(self, state: State) -> State:
        """One block."""
        if self.training and self.layer_drop > 0 and torch.rand(()).item() < self.layer_drop:
            return self._skipped(state)
        x = state.x
        if self.norm_first:
            attended, maps = self.attention(self.attention_norm(x), state)
            x = x + self.dropout(attended)
            x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        else:
            attended, maps = self.attention(x, state)
            x = self.attention_norm(x + self.dropout(attended))
            x = self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        return replace(state, x=x, maps=maps if state.keep_maps else None)

    def _skipped(self, state: State) -> State:
        if not state.keep_maps:
            return replace(state, maps=None)
        x = self.attention_norm(state.x) if self.norm_first else state.x
        return replace(state, maps=self.attention(x, state)[1])
