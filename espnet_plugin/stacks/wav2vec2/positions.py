"""Positions as a convolution over frames with a weight norm."""

from __future__ import annotations

import math
from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d

from espnet_plugin.encoders.activation import gelu


class PositionalConvolution(nn.Module):
    """A convolution in groups whose kernel has one length per tap; what it makes is added to ``x``.

    The kernel is ``weight_g * weight_v / |weight_v|``, the norm over all but the tap (fairseq:
    ``weight_norm(dim=2)``); the two parts are the parameters.

    Args:
        width: channels.
        kernel: taps; with an even number the last output frame is dropped.
        groups: of channels.
    """

    def __init__(self, width: int, kernel: int, groups: int, device: Optional[str] = None) -> None:
        super().__init__()
        self.groups = groups
        self.weight_v = nn.Parameter(torch.empty(width, width // groups, kernel, device=device))
        self.weight_g = nn.Parameter(torch.empty(1, 1, kernel, device=device))
        self.bias = nn.Parameter(torch.zeros(width, device=device))
        nn.init.normal_(self.weight_v, std=math.sqrt(4 / (kernel * width)))
        with torch.no_grad():
            self.weight_g.copy_(self.weight_v.norm(dim=(0, 1), keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width), zero on padded frames, to the same."""
        kernel = int(self.weight_v.size(-1))  # while tracing too
        weight = torch._weight_norm(self.weight_v, self.weight_g, 2)
        padding = kernel // 2
        y = conv1d(x.transpose(1, 2), weight, self.bias, 1, padding, 1, self.groups)
        return gelu(y[..., : x.size(1)]).transpose(1, 2)
