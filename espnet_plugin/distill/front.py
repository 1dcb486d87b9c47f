"""What a teacher and its student have before block 0, computed once where it is the same."""

from __future__ import annotations

from dataclasses import replace
from typing import List, Optional, Tuple

import torch
from torch import Tensor, nn

from espnet_plugin.compat import TooShortUttError
from espnet_plugin.stacks.batches import Batch
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.state import State
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack


def front_parameters(stack: Stack) -> List[nn.Parameter]:
    """The parameters of everything before block 0."""
    later = {id(p) for p in stack.blocks.parameters()}
    for norm in _last_norm(stack):
        later |= {id(p) for p in norm.parameters()}
    return [p for p in stack.parameters() if id(p) not in later]


class Front:
    """From inputs to what enters block 0 of the teacher and of the student.

    Args:
        teacher: in evaluation mode; nothing of it is trained.
        student: edited from it, or anything that gives as many frames.
        trained: whether the student's front is, and so changes.

    Attributes:
        shared: "all", where teacher and student have the same before block 0; "features", where
            only the positions differ, as those of a mimic of a whole wav2vec 2.0-type stack; None.
            The most costly part, the convolutions over samples, is in the features.
    """

    def __init__(self, teacher: Stack, student: Stack, trained: bool = False) -> None:
        self.teacher, self.student, self.trained = teacher, student, trained
        self.shared: Optional[str] = None if trained else _shared(teacher, student)

    def __call__(self, batch: Batch) -> Tuple[State, State]:
        """The teacher's state and the student's, on the teacher's device.

        Raises:
            ValueError: an utterance that is too short; names the batch's.
        """
        names, inputs, lengths = batch
        device = next(self.teacher.parameters()).device
        inputs, lengths = inputs.to(device), lengths.to(device)
        try:
            return self._states(inputs, lengths)
        except (ValueError, TooShortUttError) as error:
            reason = error.args[0] if error.args else error
            raise ValueError(f"{', '.join(names)}: {reason}") from error

    def _states(self, inputs: Tensor, lengths: Tensor) -> Tuple[State, State]:
        teacher, student = self.teacher, self.student
        if self.shared == "features":
            assert isinstance(teacher, Wav2Vec2Stack) and isinstance(student, Wav2Vec2Stack)
            with torch.no_grad():
                features, frames = teacher.frontend(inputs, lengths)
                return teacher.enter(features, frames), student.enter(features, frames)
        with torch.no_grad():
            state = teacher.embed(inputs, lengths)
        if self.shared == "all":
            return state, replace(state)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trained):
            return state, student.embed(inputs, lengths)


def _shared(teacher: Stack, student: Stack) -> Optional[str]:
    try:
        if teacher.describe() != student.describe():
            return None
    except ValueError:  # a stack without a configuration cannot be compared
        return None
    if _equal(teacher, student, ""):
        return "all"
    if isinstance(teacher, Wav2Vec2Stack):
        parts = ("convolutions", "norm", "projection")
        if all(_equal(teacher, student, f"frontend.{part}.") for part in parts):
            return "features"
    return None


def _equal(teacher: Stack, student: Stack, prefix: str) -> bool:
    first, second = (_front_tensors(stack, prefix) for stack in (teacher, student))
    return first.keys() == second.keys() and all(
        first[name].shape == second[name].shape
        and torch.equal(first[name], second[name].to(first[name].device))
        for name in first
    )


def _front_tensors(stack: Stack, prefix: str) -> dict[str, Tensor]:
    later = {id(t) for part in (stack.blocks, *_last_norm(stack)) for t in _tensors(part)}
    named = [*stack.named_parameters(), *stack.named_buffers()]
    return {name: t for name, t in named if id(t) not in later and name.startswith(prefix)}


def _tensors(module: nn.Module) -> List[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _last_norm(stack: Stack) -> List[nn.Module]:
    if isinstance(stack, Wav2Vec2Stack):
        last = stack.norm if stack.config.norm_first else None
    else:
        last = getattr(stack, "after_norm", None)
    return [] if last is None else [last]
