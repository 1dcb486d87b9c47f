"""GELU whose gradient is right in every torch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from espnet_plugin.compat import being_compiled


def gelu(x: Tensor) -> Tensor:
    """``torch.nn.functional.gelu``.

    On the CPU, torch 1.13's backward reads a gradient that is not contiguous (one that comes
    through a transposition, say) as if it were, and beyond its end; so the gradient is made
    contiguous first.
    """
    y = functional.gelu(x)
    if y.requires_grad and x.device.type == "cpu" and not being_compiled():
        y.register_hook(Tensor.contiguous)
    return y
