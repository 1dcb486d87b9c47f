"""Which samples a hidden frame stands for, exactly, for every kind of encoder.

A frame sees a stretch of samples, its receptive field: that of the convolutions and windows before
the blocks. It stands for the middle of them. Blocks mix frames, but not the place of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable, Tuple

import torch
from torch import Tensor, nn

from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.hooks import stack_in
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

Layer = Tuple[int, int, int]
"""Kernel, stride and padding of a convolution over time."""


@dataclass(frozen=True)
class FrameClock:
    """Frame t stands for sample ``t * shift + centre``, in whole samples at the model's rate.

    Frame t sees ``field`` samples, ``first(t)`` to ``first(t) + field - 1``; near the ends of the
    utterance some of them are padding. In time, sample n lasts from n to n + 1: the middle of an
    even field is exactly the instant at which sample ``centre`` begins (wav2vec 2.0: 200 of 400
    samples, 12.5 ms), the middle of an odd one is the middle of that sample.
    """

    shift: int
    centre: int
    field: int = 1

    def __post_init__(self) -> None:
        if self.shift < 1 or self.field < 1:
            raise ValueError(f"shift {self.shift} and field {self.field} must be at least 1 sample")

    def first(self, frame: int) -> int:
        """The first sample that a frame sees; below 0 where it sees padding."""
        return frame * self.shift + self.centre - self.field // 2

    def samples(self, num_frames: int) -> Tensor:
        """(num_frames,) int64: the sample that each frame stands for."""
        return torch.arange(num_frames, dtype=torch.int64) * self.shift + self.centre

    def after(self, kernel: int, stride: int = 1, padding: int = 0) -> FrameClock:
        """The clock behind a convolution or pooling over the frames of this one."""
        first = self.first(0) - padding * self.shift
        field = self.field + (kernel - 1) * self.shift
        return FrameClock(self.shift * stride, first + field // 2, field)

    def finer(self, factor: int) -> FrameClock:
        """The clock of each frame cut into ``factor`` equal parts, in their order.

        Raises:
            ValueError: the shift cannot be cut so.
        """
        if factor < 1 or self.shift % factor:
            raise ValueError(f"a shift of {self.shift} samples cannot be cut into {factor}")
        part = self.shift // factor
        return FrameClock(part, self.centre - (self.shift - part) // 2)


def clock_of(model: nn.Module) -> FrameClock:
    """The clock of the hidden frames of a model.

    Args:
        model: takes waveforms: an ``ESPnetASRModel`` with ESPnet's default or sliding-window
            frontend, or whose encoder is one of our stacks; or a stack, or one of our encoders.

    Raises:
        ValueError: a model whose frames are not known to be at fixed samples; one line.
    """
    stack = stack_in(model) or stack_in(getattr(model, "encoder", model))
    if isinstance(stack, Wav2Vec2Stack):
        clock = FrameClock(1, 0)
        for _, kernel, stride in stack.config.conv_layers:
            clock = clock.after(kernel, stride)
        return clock
    if isinstance(stack, ConformerStack):
        front, embedding = (stack if stack.takes == "waveform" else model), stack.embedding
    else:
        encoder: Any = getattr(model, "encoder", None)
        if not hasattr(encoder, "embed"):
            raise ValueError(f"{_name(encoder or model)}: not known which samples its frames see")
        front, embedding = model, encoder.embed
    clock = _frontend(getattr(front, "frontend", None))
    clock = _preencoder(getattr(front, "preencoder", None), clock)
    for layer in _convolutions(embedding):
        clock = clock.after(*layer)
    return clock


def _frontend(frontend: Any) -> FrameClock:
    kind = _name(frontend)
    if kind == "SlidingWindow":
        return FrameClock(1, 0).after(frontend.win_length, frontend.hop_length)
    stft = getattr(frontend, "stft", None)
    if kind != "DefaultFrontend" or stft is None:
        raise ValueError(
            f"frontend {kind}: not known which samples its frames see; "
            "the default and sliding_window of ESPnet and stacks of waveforms are"
        )
    window = torch.ones(stft.win_length)
    if stft.window is not None:
        window = getattr(torch, f"{stft.window}_window")(stft.win_length)
    weighed = window.nonzero().flatten()  # a Hann window begins with a zero
    first, last = int(weighed[0]), int(weighed[-1])
    first += (stft.n_fft - stft.win_length) // 2 - (stft.n_fft // 2 if stft.center else 0)
    field = last - int(weighed[0]) + 1
    return FrameClock(stft.hop_length, first + field // 2, field)


def _preencoder(preencoder: Any, clock: FrameClock) -> FrameClock:
    """Sinc convolutions run within each window, whose one result is the frame."""
    kind = _name(preencoder)
    if preencoder is None or kind == "LinearProjection":
        return clock
    if kind != "LightweightSincConvs":
        raise ValueError(f"preencoder {kind}: not known which samples its frames see")
    inside = FrameClock(1, 0)
    for layer in preencoder.modules():
        if isinstance(layer, nn.AvgPool1d):
            inside = inside.after(_one(layer.kernel_size), _one(layer.stride))
        elif isinstance(layer, nn.Conv1d):
            inside = inside.after(layer.kernel_size[0], layer.stride[0])
        elif _name(layer) == "SincConv":
            inside = inside.after(layer.kernel_size, layer.stride)
    return FrameClock(clock.shift, clock.first(0) + inside.centre, inside.field)


def _convolutions(embedding: Any) -> Iterable[Layer]:
    """Of ESPnet's subsampling; a linear layer, an embedding or nothing has none."""
    for layer in getattr(embedding, "conv", None) or ():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d)):
            yield layer.kernel_size[0], layer.stride[0], int(layer.padding[0])


def _one(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple) else value)


def _name(module: Any) -> str:
    return "none" if module is None else type(module).__name__
