"""The feature extractor a stretch of time at a time, for inference on the CPU.

What lies between the convolutions stays in the processor's cache, channels innermost, as oneDNN
prefers. A group norm needs the mean and variance of all frames first; as the convolution before it
is linear, they follow from those of the waveform's windows, and the norm becomes part of the
kernel.
"""

from __future__ import annotations

from math import prod
from typing import Any, List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from espnet_plugin.encoders import onednn

CHUNK = 64
"""Output frames per stretch."""

WINDOWS = 2**16
"""Windows of the waveform whose moments are taken at a time."""


class _Layer(NamedTuple):
    weight: Tensor  # (C', C, 1, K), channels last
    bias: Optional[Tensor]
    stride: int
    norm: Optional[nn.Module]


def untouched(layers: Sequence[Any]) -> bool:
    """Whether nobody hooks the layers, so that reading their weights is the same as calling."""
    parts = [part for layer in layers for part in (layer.conv, layer.norm) if part is not None]
    return all(onednn.untouched(part, type(part)) for part in parts)


def chunked_features(layers: Sequence[Any], waveforms: Tensor) -> Tensor:
    """What the layers, one after the other, make of waveforms.

    Args:
        layers: each has ``conv`` and ``norm``; a group norm only first, one group per channel.
        waveforms: (B, N).

    Returns:
        (B, T, C).
    """
    width = 1
    for layer in reversed(layers):
        width = (width - 1) * layer.conv.stride[0] + layer.conv.kernel_size[0]
    step = prod(layer.conv.stride[0] for layer in layers)
    frames = (waveforms.size(1) - width) // step + 1
    later = [_plain(layer) for layer in layers[1:]]
    outputs = waveforms.new_empty(len(waveforms), frames, layers[-1].conv.out_channels)
    for waveform, output in zip(waveforms, outputs, strict=True):
        first = layers[0]
        folds = isinstance(first.norm, nn.GroupNorm)
        chain = [_folded(first, waveform) if folds else _plain(first), *later]
        for begin in range(0, frames, CHUNK):
            end = min(begin + CHUNK, frames)
            samples = waveform[begin * step : (end - 1) * step + width]
            output[begin:end] = _run(chain, samples)
    return outputs


def _run(chain: List[_Layer], samples: Tensor) -> Tensor:
    """(N,) to (T, C)."""
    x = samples.view(1, 1, 1, -1)
    for layer in chain:
        x = x.contiguous(memory_format=torch.channels_last)
        stride = (1, layer.stride)
        x = torch.mkldnn_convolution(x, layer.weight, layer.bias, (0, 0), stride, (1, 1), 1)
        y = x.permute(0, 2, 3, 1).contiguous()  # (1, 1, T, C)
        x = gelu(y if layer.norm is None else layer.norm(y)).permute(0, 3, 1, 2)
    return x[0, :, 0].t()


def _plain(layer: Any) -> _Layer:
    weight = layer.conv.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    return _Layer(weight, layer.conv.bias, layer.conv.stride[0], layer.norm)


def _folded(layer: Any, waveform: Tensor) -> _Layer:
    """The first layer with its group norm, which depends on the utterance, in the kernel."""
    weight, norm = layer.conv.weight.squeeze(1), layer.norm
    mean, covariance = _moments(waveform, weight.size(1), layer.conv.stride[0])
    kernel = weight.double()
    variance = ((kernel @ covariance) * kernel).sum(1).clamp(min=0)
    scale = norm.weight.double() * torch.rsqrt(variance + norm.eps)
    bias = norm.bias.double() - scale * (kernel @ mean)
    kernel = (kernel * scale[:, None]).float()[:, None, None, :]
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    return _Layer(kernel, bias.float(), layer.conv.stride[0], None)


def _moments(waveform: Tensor, kernel: int, stride: int) -> tuple[Tensor, Tensor]:
    """Mean (K,) and covariance (K, K), float64, of the windows that the convolution sees."""
    total = torch.zeros(kernel, dtype=torch.float64)
    products = torch.zeros(kernel, kernel, dtype=torch.float64)
    windows = waveform.unfold(0, kernel, stride)
    for part in windows.split(WINDOWS):
        part = part.double()
        total += part.sum(0)
        products += part.t() @ part
    mean = total / len(windows)
    return mean, products / len(windows) - mean[:, None] * mean
