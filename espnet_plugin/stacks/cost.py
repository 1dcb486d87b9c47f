"""What a model costs: parameters by part, multiply-accumulate operations, bytes on disk."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Dict

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


def count_parameters(model: nn.Module) -> Dict[str, int]:
    """Parameters by part, shared ones once, in the order of the model.

    The parts are the model's children (``ctc``, ``decoder`` …) and, of a stack of blocks
    (children with numbers for names), what a block consists of: ``encoder.embed``,
    ``encoder.encoders.*.self_attn``, ``encoder.encoders.*.conv_module`` and so on.
    """
    parts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        parts[_part(name)] += parameter.numel()
    return dict(parts)


def _part(name: str) -> str:
    words = ["*" if word.isdigit() else word for word in name.split(".")[:-1]]
    if words[:1] != ["encoder"]:
        return ".".join(words[:1]) or name
    depth = 4 if words[2:3] == ["*"] else 2
    return ".".join(words[:depth])


class MacCounter(TorchDispatchMode):
    """Count multiply-accumulate operations of everything that runs inside the ``with``.

    Counted are matrix products, convolutions and fused attention, on the level of ATen, so any
    module counts, whether it is made of layers or of functions; element-wise work, Fourier
    transforms and look-ups are not. ``torch.utils.flop_counter`` (torch ≥ 2.1) does the same and
    gives twice as much, a multiplication and an addition each; torch 1.13 has no such counter.

    Attributes:
        macs: operations so far.

    Example:
        >>> with MacCounter() as counter, torch.no_grad():
        ...     encoder(features, lengths)
        >>> counter.macs
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled():  # there linear, matmul and the like arrive whole
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        self.macs += _macs(func.overloadpacket.__name__, args, out)
        return out


def _macs(name: str, args: Any, out: Any) -> int:
    if name in ("mm", "bmm"):
        return out.numel() * args[0].shape[-1]
    if name in ("addmm", "baddbmm"):
        return out.numel() * args[1].shape[-1]
    if name in ("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution"):
        weight: Tensor = args[1]
        transposed = len(args) > 6 and args[6] is True
        made = args[0] if transposed else out
        return made.numel() * math.prod(weight.shape[1:])
    if name.startswith("_scaled_dot_product") and "backward" not in name:
        query, key, value = args[:3]
        return query.numel() // query.shape[-1] * key.shape[-2] * (key.shape[-1] + value.shape[-1])
    return 0


def macs_per_second(model: Any, speech: Tensor, rate: int) -> float:
    """Multiply-accumulate operations per second of speech, from waveform to CTC output.

    Args:
        model: an ``ESPnetASRModel``.
        speech: (1, S) samples. Attention's share grows with S, so give the length with the figure.
        rate: samples per second.
    """
    lengths = torch.tensor([speech.shape[1]], device=speech.device)
    with MacCounter() as counter, torch.no_grad():
        encoded, _ = model.encode(speech, lengths)
        model.ctc.ctc_lo(encoded[0] if isinstance(encoded, tuple) else encoded)
    return counter.macs * rate / speech.shape[1]
