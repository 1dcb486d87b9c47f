"""What is timed: the encoder of a model, from the features that it takes to its output."""

from __future__ import annotations

from typing import Any, List, Tuple

import torch
from torch import Tensor

from espnet_plugin.encoders.onednn import adopt
from espnet_plugin.encoders.stack_encoder import StackEncoder
from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.timing import Call


def encoder_call(model: Any, speech: Tensor, lengths: Tensor) -> Call:
    """A function that runs the encoder of a model without gradients.

    What a front end makes of the waveform (filter banks, their normalisation) is made once, here,
    and never in the function, whether the front end belongs to the model or to its stack: models
    that differ in nothing else then take the same time. The convolutions of wav2vec 2.0-type
    stacks are a part of the encoder.

    Args:
        model: an ``ESPnetASRModel``, or a stack that takes waveforms; in evaluation mode.
        speech: (B, S) samples.
        lengths: (B,).
    """
    if isinstance(model, Stack):
        stack, inputs = _behind_front_end(model, (speech, lengths))
        return lambda: _quietly(stack.output, inputs, {})
    inputs, encoder = _inputs(model, speech, lengths), model.encoder
    asks_ctc = ("interctc_use_conditioning", "ctc_trim")  # as ESPnetASRModel.encode tells
    needs_ctc = any(getattr(encoder, name, False) for name in asks_ctc)
    options = {"ctc": model.ctc} if needs_ctc else {}
    if isinstance(encoder, StackEncoder):
        stack, inputs = _behind_front_end(encoder.stack, inputs)
        encoder = adopt(type(encoder), encoder)
        encoder.stack = stack
    return lambda: _quietly(encoder, inputs, options)


def _quietly(run: Any, inputs: Tuple[Any, ...], options: Any) -> Any:
    with torch.no_grad():
        return run(*inputs, **options)


def _inputs(model: Any, speech: Tensor, lengths: Tensor) -> Tuple[Any, ...]:
    """What the model gives its encoder."""
    seen: List[Tuple[Any, ...]] = []
    hook = model.encoder.register_forward_pre_hook(lambda module, args: seen.append(args))
    try:
        with torch.no_grad():
            model.encode(speech, lengths)
    finally:
        hook.remove()
    return seen[0]


def _behind_front_end(stack: Stack, inputs: Tuple[Any, ...]) -> Tuple[Stack, Tuple[Any, ...]]:
    """The stack without its front end, and what that makes of ``inputs``."""
    if not isinstance(stack, ConformerStack) or stack.takes != "waveform":
        return stack, inputs
    with torch.no_grad():
        features = stack.features(*inputs)
    behind: ConformerStack = adopt(ConformerStack, stack)
    behind.frontend = behind.normalize = behind.preencoder = None
    behind.takes = "features"
    return behind, features
