"""Stage 2 of mimicking: the task itself, through the teacher's own head.

Dorszewski, Jacobsen, Tětková, Hansen (ICASSP 2025, arXiv 2409.16302). Their controls: the same
network without stage 1, which is this function alone; and the head on the projected features, which
is this function with :func:`without_blocks`.
"""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from torch import Tensor, nn

from espnet_plugin.atomic import PathLike
from espnet_plugin.compat import TooShortUttError
from espnet_plugin.distill.batches import SpeechBatches
from espnet_plugin.distill.front import front_parameters
from espnet_plugin.distill.settings import DEFAULT, Settings
from espnet_plugin.distill.train import train
from espnet_plugin.stacks.batches import Batch
from espnet_plugin.stacks.stack import Stack

Task = Callable[[Tensor, Tensor, Sequence[str]], Tensor]
"""From a stack's output (B, T, D), valid frames (B,) and utterance ids to the loss, a scalar; it
computes with the head."""


def train_task(
    student: Stack,
    head: nn.Module,
    task: Task,
    batches: SpeechBatches,
    settings: Settings = DEFAULT,
    frozen: bool = False,
    valid: Optional[SpeechBatches] = None,
    directory: Optional[PathLike] = None,
    said: Optional[Dict[str, Any]] = None,
) -> List[Dict[str, Any]]:
    """Stage 2: train the head, and the student's blocks unless ``frozen``, in place.

    What the student has before its blocks stays as it is.

    Args:
        student: a stack with a taught mimic, or any other.
        head: a copy of the teacher's.
        task: the loss, made with ``head``.
        batches: of speech whose labels ``task`` knows.
        settings, valid, directory, said: see :func:`espnet_plugin.distill.train.train`.

    Returns:
        The losses over training; see :class:`espnet_plugin.distill.checkpoint.Progress`.
    """
    fixed = {id(p) for p in (student.parameters() if frozen else front_parameters(student))}
    fixed |= {id(p) for p in student.parameters()} if not len(student.blocks) else set()
    learner = nn.ModuleDict({"student": student, "head": head})
    parameters = [p for p in learner.parameters() if id(p) not in fixed]
    objective = _Objective(student, task, all(id(p) in fixed for p in student.parameters()))
    return train(objective, learner, parameters, batches, settings, valid, directory, "task", said)


def without_blocks(stack: Stack) -> Stack:
    """A copy that gives z, what a mimic of the whole stack takes: the projected features of a
    wav2vec 2.0-type stack. It cannot be saved."""
    memo = {id(block): block for block in stack.blocks}  # not to be copied
    bare = copy.deepcopy(stack, memo)
    bare.blocks, bare.block_numbers, bare.windows = nn.ModuleList(), (), ()
    bare.tidy(True)
    return bare


class _Objective:
    def __init__(self, student: Stack, task: Task, fixed: bool) -> None:
        self.student, self.task, self.fixed = student, task, fixed

    def __call__(self, batch: Batch) -> Dict[str, Tensor]:
        names, inputs, lengths = batch
        student, device = self.student, next(self.student.parameters()).device
        grad = torch.is_grad_enabled()
        try:
            with torch.no_grad():
                state = student.embed(inputs.to(device), lengths.to(device))
        except (ValueError, TooShortUttError) as error:
            reason = error.args[0] if error.args else error
            raise ValueError(f"{', '.join(names)}: {reason}") from error
        with torch.set_grad_enabled(grad and not self.fixed):
            for place in range(len(student.blocks)):
                state = student.step(place, state)
            x = student.finish(state.x)
            if state.mask is not None:
                x = x.masked_fill(~state.mask.unsqueeze(-1), 0.0)
        return {"loss": self.task(x, state.lengths, names)}
