"""Exchange ESPnet's modules for ones that compute the same faster in inference."""

from __future__ import annotations

from espnet2.asr.encoder.conformer_encoder import ConvolutionModule, get_activation
from torch import nn

from espnet_plugin.encoders.convolution import FastConvolution
from espnet_plugin.encoders.onednn import Linear, adopt
from espnet_plugin.encoders.subsampling import ChunkedConvolutions


def faster(module: nn.Module) -> None:
    """Exchange what is below ``module``, in place; parameters keep their names and values.

    Only ESPnet's and torch's own classes are exchanged, not what somebody derived from them.
    """
    for name, child in module.named_children():
        faster(child)
        replacement = _replacement(child)
        if replacement is not child:
            setattr(module, name, replacement)


def _replacement(module: nn.Module) -> nn.Module:
    if type(module) is nn.Linear:
        return adopt(Linear, module)
    if type(module) is ConvolutionModule:
        return adopt(FastConvolution, module)
    if type(module) is type(get_activation("swish")):
        return nn.SiLU()
    if type(module) is nn.Sequential and _is_subsampling(module):
        return adopt(ChunkedConvolutions, module)
    return module


def _is_subsampling(layers: nn.Sequential) -> bool:
    """``Conv2d`` and ``ReLU``, a convolution first, none of them padded, dilated or in groups."""
    convolutions = [layer for layer in layers if type(layer) is nn.Conv2d]
    return (
        {type(layer) for layer in layers} == {nn.Conv2d, nn.ReLU}
        and layers[0] is convolutions[0]
        and all(
            c.padding == (0, 0) and c.dilation == (1, 1) and c.groups == 1 for c in convolutions
        )
    )
