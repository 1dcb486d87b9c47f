"""wav2vec 2.0, HuBERT or WavLM as a stack."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any, Dict, Mapping, Optional

import torch
from torch import Tensor, nn

from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.state import State, mask_of, zero_padding
from espnet_plugin.stacks.wav2vec2.block import Block
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.features import Frontend
from espnet_plugin.stacks.wav2vec2.gated_attention import GatedAttention
from espnet_plugin.stacks.wav2vec2.relative_bias import RelativeBias

RATE = 16000
"""Samples per second of every model of these families."""


class Wav2Vec2Stack(Stack):
    """A stack that takes waveforms of 16 kHz.

    Args:
        config: its layout.
        device: where parameters are made; "meta" makes none, for
            :func:`espnet_plugin.stacks.parameters.fill`.

    Attributes:
        frontend: waveform to projected features, and the positional convolution.
        norm: before block 0, or after the last one where ``config.norm_first``; None: there is none
            (any more).
        relative_bias: WavLM's biases by distance, for all blocks; else None.
    """

    takes = "waveform"

    def __init__(self, config: Wav2Vec2Config, device: Optional[str] = None) -> None:
        super().__init__([Block(config, device) for _ in range(config.blocks)])
        self.config = config
        self.family = config.family
        self.width = config.width
        self.frame_shift = prod(stride for _, _, stride in config.conv_layers) / RATE
        self.frontend = Frontend(config, device)
        self.norm: Optional[nn.Module] = nn.LayerNorm(config.width, device=device)
        self.dropout = nn.Dropout(config.dropout)
        self.relative_bias: Optional[RelativeBias] = None
        if config.family == "wavlm":
            self.relative_bias = RelativeBias(
                config.num_buckets, config.max_distance, config.heads, device
            )
        if device != "meta":
            self.blocks.apply(_initialise)

    def embed(self, inputs: Tensor, lengths: Optional[Tensor] = None) -> State:
        """Everything before block 0, see :meth:`Stack.embed`: ``inputs`` (B, N) samples."""
        return self.enter(*self.frontend(inputs, lengths))

    def enter(self, features: Tensor, lengths: Tensor) -> State:
        """From projected features to what enters block 0.

        Args:
            features: (B, T, D), as ``frontend`` gives them, masked or not.
            lengths: (B,), valid frames.
        """
        mask = mask_of(lengths, features.size(1))
        x = zero_padding(features, mask)
        if self.frontend.positions is not None:
            x = x + self.frontend.positions(x)
        if self.norm is not None and not self.config.norm_first:
            x = self.norm(x)
        state = State(self.dropout(x), lengths, mask)
        if self.relative_bias is not None:
            state = replace(state, positions=self.relative_bias(x.size(1)))
        return state

    def finish(self, x: Tensor) -> Tensor:
        """The norm of models that normalise first; (B, T, D)."""
        return self.norm(x) if self.norm is not None and self.config.norm_first else x

    def tidy(self, mimicked: bool) -> None:
        """See :meth:`Stack.tidy`.

        A mimic of the whole stack takes the projected features themselves (Dorszewski et al. 2025,
        arXiv 2409.16302): it needs neither the positional convolution nor the norm behind it.
        """
        if mimicked:
            self.frontend.positions = None
            if not self.config.norm_first:
                self.norm = None
        attentions = (getattr(block, "attention", None) for block in self.blocks)
        if not any(isinstance(a, GatedAttention) and a.heads for a in attentions):
            self.relative_bias = None

    def describe(self) -> Dict[str, Any]:
        """See :meth:`Stack.describe`."""
        return {"builder": "wav2vec2", "config": self.config.to_dict()}

    @classmethod
    def build(cls, description: Mapping[str, Any]) -> Wav2Vec2Stack:
        """See :meth:`Stack.build`; the parameters are on "meta"."""
        return cls(Wav2Vec2Config.from_dict(description["config"]), "meta")


def _initialise(module: nn.Module) -> None:
    """As fairseq's ``init_bert_params``."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            with torch.no_grad():
                module.bias.zero_()
