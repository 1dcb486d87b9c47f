"""The Conformer's convolution module, kept in the layout of its input during inference."""

from __future__ import annotations

from typing import Optional

import torch
from espnet2.asr.encoder.conformer_encoder import ConvolutionModule
from torch import Tensor, nn

from espnet_plugin.encoders import onednn


class FastConvolution(ConvolutionModule):
    """ESPnet's module; inference on the CPU neither transposes nor normalises apart.

    Frames stay (B, T, C), which is oneDNN's layout too, and the batch normalisation, constant in
    evaluation, is folded into the depthwise kernel.
    """

    def untouched(self) -> bool:
        """Whether the sub-layers are ESPnet's own and nobody hooks them."""
        convolutions = (self.pointwise_conv1, self.depthwise_conv, self.pointwise_conv2)
        return onednn.untouched(self.norm, nn.BatchNorm1d) and all(
            onednn.untouched(layer, nn.Conv1d) for layer in convolutions
        )

    def forward(self, x: Tensor, mask_pad: Optional[Tensor] = None) -> Tensor:
        """One convolution module.

        Args:
            x: (B, T, C).
            mask_pad: (B, 1, T), true on real frames; the others are zeroed before the depthwise
                convolution (ESPnet from 202611; None before).

        Returns:
            (B, T, C).
        """
        if self.training or not onednn.usable(x) or not self.untouched():
            return super().forward(x) if mask_pad is None else super().forward(x, mask_pad)
        norm = self.norm
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        kernel = self.depthwise_conv.weight * scale[:, None, None]
        bias = norm.bias - norm.running_mean * scale
        if self.depthwise_conv.bias is not None:
            bias = bias + self.depthwise_conv.bias * scale

        pointwise = self.pointwise_conv1
        x = onednn.linear(x, pointwise.weight.squeeze(-1), pointwise.bias)
        x = torch.nn.functional.glu(x, dim=-1)
        if mask_pad is not None:
            x.masked_fill_(mask_pad.transpose(1, 2).eq(0), 0.0)
        x = self.activation(onednn.depthwise(x, kernel, bias))
        pointwise = self.pointwise_conv2
        return onednn.linear(x, pointwise.weight.squeeze(-1), pointwise.bias)
