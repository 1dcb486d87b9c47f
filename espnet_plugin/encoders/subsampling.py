"""The convolutions before the blocks, a stretch of time at a time during inference."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from espnet_plugin.encoders import onednn

CHUNK = 64
"""Output frames per stretch: what lies between the convolutions stays in the cache."""


class ChunkedConvolutions(nn.Sequential):
    """ESPnet's ``Conv2d`` and ``ReLU`` stack; inference on the CPU goes by stretches of time.

    Each output frame needs a short stretch of the input, so stretches are exact. Channels are
    innermost, which oneDNN prefers.
    """

    def untouched(self) -> bool:
        """Whether the layers are ESPnet's own and nobody hooks them."""
        return all(
            onednn.untouched(layer, nn.Conv2d) or onednn.untouched(layer, nn.ReLU) for layer in self
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, L, input_size) to (B, C, T, F)."""
        if not onednn.usable(x) or not self.untouched():
            return super().forward(x)
        width, step = 1, 1
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                width += (layer.kernel_size[0] - 1) * step
                step *= layer.stride[0]
        frames = (x.size(2) - width) // step + 1
        outputs = []
        for first in range(0, frames, CHUNK):
            last = min(first + CHUNK, frames) - 1
            part = x[:, :, first * step : last * step + width]
            for layer in self:
                if isinstance(layer, nn.Conv2d):
                    part = torch.mkldnn_convolution(
                        part.contiguous(memory_format=torch.channels_last),
                        layer.weight.contiguous(memory_format=torch.channels_last),
                        layer.bias,
                        (0, 0),
                        layer.stride,
                        (1, 1),
                        1,
                    )
                else:
                    part.relu_()
            outputs.append(part)
        return torch.cat(outputs, dim=2)
