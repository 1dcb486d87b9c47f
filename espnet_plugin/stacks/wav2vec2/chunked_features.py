"""The feature extractor a stretch of time at a time, for inference on the CPU."""

from __future__ import annotations

from typing import Sequence

from torch import Tensor, nn


def chunked_features(layers: Sequence[nn.Module], waveforms: Tensor) -> Tensor:
    x = waveforms.unsqueeze(1)
    for layer in layers:
        x = layer(x)
    return x.transpose(1, 2)
