"""From the waveform to frames: normalisation, convolutions, projection."""

from __future__ import annotations

from typing import Optional, Tuple

import torch
from torch import Tensor, nn

from espnet_plugin.encoders import onednn
from espnet_plugin.encoders.activation import gelu
from espnet_plugin.stacks.wav2vec2.chunked_features import chunked_features, untouched
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.positions import PositionalConvolution

Device = Optional[str]


class ConvLayer(nn.Module):
    """A convolution, a norm or none, and GELU.

    Args:
        norm: "group" (a group per channel), "layer" (over channels) or None.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        kernel: int,
        stride: int,
        bias: bool,
        norm: Optional[str],
        device: Device = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, channels, kernel, stride, bias=bias, device=device)
        nn.init.kaiming_normal_(self.conv.weight)
        self.norm: Optional[nn.Module] = None
        if norm == "group":
            self.norm = nn.GroupNorm(channels, channels, device=device)
        elif norm == "layer":
            self.norm = nn.LayerNorm(channels, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, L) to (B, channels, L')."""
        x = self.conv(x)
        if isinstance(self.norm, nn.LayerNorm):
            x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        elif self.norm is not None:
            x = self.norm(x)
        return gelu(x)


class Frontend(nn.Module):
    """Everything before the blocks but the norm that base models have there.

    Padding is treated as the originals do: a group norm sees the zeros after an utterance.
    """

    def __init__(self, config: Wav2Vec2Config, device: Device = None) -> None:
        super().__init__()
        self.config = config
        layers, inputs = [], 1
        for number, (channels, kernel, stride) in enumerate(config.conv_layers):
            norm = config.feature_norm
            norms = norm if norm == "layer" or number == 0 else None
            layers.append(
                ConvLayer(inputs, channels, kernel, stride, config.conv_bias, norms, device)
            )
            inputs = channels
        self.convolutions = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(inputs, device=device)
        self.projection: nn.Module = nn.Identity()
        if config.projection:
            self.projection = onednn.Linear(inputs, config.width, device=device)
        self.dropout = nn.Dropout(config.input_dropout)
        self.mask_embedding = nn.Parameter(torch.zeros(config.width, device=device))
        self.positions: Optional[nn.Module] = PositionalConvolution(
            config.width, config.pos_kernel, config.pos_groups, device
        )

    def forward(self, waveforms: Tensor, lengths: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """The projected features, before masking and positions.

        Args:
            waveforms: (B, N).
            lengths: (B,) samples, or None.

        Returns:
            (B, T, width), of padded frames too; valid frames (B,), int64.

        Raises:
            ValueError: no (B, N), or an utterance too short for one frame.
        """
        if waveforms.dim() != 2 or not waveforms.is_floating_point():
            raise ValueError(f"expected waveforms (B, N), not {list(waveforms.shape)}")
        if lengths is None:
            lengths = waveforms.new_full((len(waveforms),), waveforms.size(1), dtype=torch.int64)
        lengths = lengths.to(waveforms.device, torch.int64)
        self._check(waveforms, lengths)
        if self.config.normalize_waveform:
            waveforms = normalize(waveforms, lengths, self.config.normalize_epsilon)
        x = self.features(waveforms)
        frames = self.frames(lengths, waveforms.size(1), x.size(1))
        return self.dropout(self.projection(self.norm(x))), frames

    def features(self, waveforms: Tensor) -> Tensor:
        """What the convolutions make of (B, N): (B, T, channels)."""
        layers = list(self.convolutions)
        if onednn.usable(waveforms) and untouched(layers):
            return chunked_features(layers, waveforms)
        x = waveforms.unsqueeze(1)
        for layer in layers:
            x = layer(x)
        return x.transpose(1, 2)

    def frames(self, lengths: Tensor, samples: int, frames: int) -> Tensor:
        """Valid frames of utterances of ``lengths`` (B,) in a batch of ``samples``; see ``padding``
        of :class:`Wav2Vec2Config`."""
        if self.config.padding == "cells":
            cell = samples // frames
            return torch.div(lengths + cell - 1, cell, rounding_mode="floor").clamp(max=frames)
        for _, kernel, stride in self.config.conv_layers:
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return lengths

    @property
    def shortest(self) -> int:
        """Samples of one frame."""
        samples = 1
        for _, kernel, stride in reversed(self.config.conv_layers):
            samples = (samples - 1) * stride + kernel
        return samples

    def _check(self, waveforms: Tensor, lengths: Tensor) -> None:
        if torch.jit.is_tracing():
            return
        least = int(lengths.min()) if len(lengths) else 0
        longest = int(lengths.max()) if len(lengths) else 0
        least_needed = self.shortest if self.config.padding == "convolution" else 1
        if least < least_needed or waveforms.size(1) < self.shortest:
            raise ValueError(f"an utterance has {least} samples, and a frame {self.shortest}")
        if longest > waveforms.size(1):
            raise ValueError(f"a length of {longest} in a batch of {waveforms.size(1)} samples")


def normalize(waveforms: Tensor, lengths: Tensor, epsilon: float) -> Tensor:
    """Each utterance with mean 0 and variance 1 over its own samples, and zeros after them.

    Args:
        waveforms: (B, N).
        lengths: (B,).
        epsilon: added to the variance.
    """
    real = torch.arange(waveforms.size(1), device=waveforms.device) < lengths[:, None]
    count = lengths[:, None].to(waveforms.dtype)
    waveforms = waveforms.masked_fill(~real, 0.0)
    centred = waveforms - waveforms.sum(1, keepdim=True) / count
    centred = centred.masked_fill(~real, 0.0)
    variance = centred.pow(2).sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + epsilon)
