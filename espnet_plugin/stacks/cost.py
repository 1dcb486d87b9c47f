"""What a model costs: parameters by part, multiply-accumulate operations, bytes on disk."""

from __future__ import annotations

import math
from collections import Counter
from importlib import import_module
from typing import Any, Callable, Dict

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from espnet_plugin.stacks.stack import Stack


def count_parameters(model: nn.Module) -> Dict[str, int]:
    """Parameters by part, shared ones once, in the order of the model.

    The parts are the model's children (``ctc``, ``decoder`` …) and, of a stack of blocks, what a
    block consists of: ``encoder.embed``, ``encoder.encoders.*.self_attn``, ``frontend.projection``,
    ``blocks.*.attention`` and so on.
    """
    parts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        parts[_part(name)] += parameter.numel()
    return dict(parts)


def _part(name: str) -> str:
    words = ["*" if word.isdigit() else word for word in name.split(".")[:-1]]
    for place in range(1, len(words)):
        if words[place] == "*" and words[place - 1] in ("encoders", "blocks"):
            inner = place + 1 + (words[place + 1 : place + 2] == ["layer"])
            return ".".join(words[: inner + 1])
    depth = {"encoder": 2, "frontend": 2}.get(words[0], 1) if words else 0
    if words[:2] == ["encoder", "stack"]:
        depth = 3
    return ".".join(words[:depth]) or name


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


def count_macs(call: Callable[[], Any]) -> int:
    """Multiply-accumulate operations of ``call()``.

    Counted by ``torch.utils.flop_counter`` (torch ≥ 2.1), told of two kernels for the CPU that it
    does not know and halved, since it counts a multiplication and an addition each; by
    :class:`MacCounter` where there is none.
    """
    counter = _torchs_counter()
    if counter is None:
        with MacCounter() as ours:
            call()
        return ours.macs
    with counter:
        call()
    return counter.get_total_flops() // 2


def macs_counter() -> str:
    """Which of both :func:`count_macs` counts by."""
    found = _torchs_counter() is not None
    return "torch.utils.flop_counter" if found else "espnet_plugin.stacks.cost.MacCounter"


def _torchs_counter() -> Any:
    try:
        flop_counter: Any = import_module("torch.utils.flop_counter")
    except ImportError:
        return None

    def convolution(x: Any, weight: Any, *rest: Any, out_shape: Any, **named: Any) -> int:
        return flop_counter.conv_flop_count(x, weight, out_shape)

    def attention(query: Any, key: Any, value: Any, *rest: Any, **named: Any) -> int:
        return flop_counter.sdpa_flop_count(query, key, value)

    kernels = {
        "mkldnn_convolution": convolution,
        "_scaled_dot_product_flash_attention_for_cpu": attention,
    }
    aten = torch.ops.aten
    known = {getattr(aten, name): count for name, count in kernels.items() if hasattr(aten, name)}
    return flop_counter.FlopCounterMode(display=False, custom_mapping=known)


def macs_per_second(model: Any, speech: Tensor, rate: int) -> float:
    """Multiply-accumulate operations per second of speech, from the waveform on.

    Args:
        model: an ``ESPnetASRModel``, up to its CTC output; or a stack that takes waveforms, up to
            its last hidden state.
        speech: (1, S) samples. Attention's share grows with S, so give the length with the figure.
        rate: samples per second.
    """
    lengths = torch.tensor([speech.shape[1]], device=speech.device)

    def call() -> None:
        with torch.no_grad():
            if isinstance(model, Stack):
                model.output(speech, lengths)
                return
            encoded, _ = model.encode(speech, lengths)
            model.ctc.ctc_lo(encoded[0] if isinstance(encoded, tuple) else encoded)

    return count_macs(call) * rate / speech.shape[1]
