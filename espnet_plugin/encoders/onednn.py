"""Matrix products through oneDNN's convolutions, for inference on a CPU.

torch multiplies matrices with the library it was built with (as a rule Intel's MKL), which on
other makers' processors can be several times slower than oneDNN's kernels, compiled at run time
for the processor at hand. torch reaches these in every version through convolutions: a linear
layer is a convolution of width 1 over frames, and the heads of attention are its groups.
"""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor, nn

from espnet_plugin.compat import being_compiled, cpu_autocast


def usable(x: Tensor) -> bool:
    """Whether ``x`` may take the fast path: float32 on the CPU, in plain inference."""
    return (
        not torch.is_grad_enabled()
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() > 0
        and torch.backends.mkldnn.is_available()
        and not torch.jit.is_tracing()
        and not being_compiled()
        and not cpu_autocast()
    )


def linear(x: Tensor, weight: Tensor, bias: Optional[Tensor] = None, groups: int = 1) -> Tensor:
    """``x W^T + b``, in groups.

    Args:
        x: (..., groups * n).
        weight: (groups * m, n); group g maps columns gn to gn+n-1 of ``x`` to columns gm to gm+m-1.
        bias: (groups * m,).

    Returns:
        (..., groups * m), contiguous.
    """
    frames = x.contiguous().view(1, 1, -1, x.size(-1)).permute(0, 3, 1, 2)
    kernel = weight.reshape(weight.size(0), weight.size(1), 1, 1)
    out = torch.mkldnn_convolution(frames, kernel, bias, (0, 0), (1, 1), (1, 1), groups)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.size(0))


def depthwise(x: Tensor, weight: Tensor, bias: Optional[Tensor]) -> Tensor:
    """Convolve each channel over time with zeros beyond both ends.

    Args:
        x: (B, T, C).
        weight: (C, 1, K), K odd.
        bias: (C,).

    Returns:
        (B, T, C), contiguous.
    """
    frames = x.contiguous().unsqueeze(1).permute(0, 3, 1, 2)
    kernel = weight.unsqueeze(2)
    padding = (0, weight.size(-1) // 2)
    out = torch.mkldnn_convolution(frames, kernel, bias, padding, (1, 1), (1, 1), x.size(-1))
    return out.permute(0, 2, 3, 1).reshape(x.shape)


def untouched(layer: nn.Module, kind: type) -> bool:
    """Whether ``layer`` is of torch's class ``kind`` itself and nobody hooks it.

    Only then is reading its weights the same as calling it.
    """
    return type(layer) is kind and not layer._forward_hooks and not layer._forward_pre_hooks


class Linear(nn.Linear):
    """``torch.nn.Linear``, faster in inference on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        if usable(x) and self.weight.numel() > 0:
            return linear(x, self.weight, self.bias)
        return super().forward(x)


def adopt(cls: Any, source: nn.Module) -> Any:
    """A module of class ``cls`` with the parameters, buffers and settings of ``source``.

    The two share them, but what is set in one of them later is not set in the other.
    """
    module = cls.__new__(cls)
    nn.Module.__init__(module)
    module.__dict__.update(source.__dict__)
    for name in ("_parameters", "_buffers", "_modules"):
        module.__dict__[name] = source.__dict__[name].copy()
    return module
