"""Teacher and student of the command, and what the student becomes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

import torch
from torch import nn

from espnet_plugin.atomic import PathLike
from espnet_plugin.encoders.onednn import adopt
from espnet_plugin.stacks.asr import stack_of, write_experiment
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.experiment import Experiment, load_experiment
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.wav2vec2.stack import RATE, Wav2Vec2Stack
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan

STACK = "stack.pt"
"""What the student is called where there is no experiment."""


@dataclass
class Models:
    """Two stacks, and the ASR models that they are in, if they are."""

    teacher: Stack
    student: Stack
    teacher_asr: Optional[Experiment]
    student_asr: Optional[Experiment]
    """With a CTC layer of its own."""

    @property
    def rate(self) -> Optional[int]:
        """Samples per second of the speech."""
        if isinstance(self.teacher, Wav2Vec2Stack):
            return RATE
        configuration: Any = getattr(self.teacher, "configuration", None)
        return None if configuration is None else configuration["rate"]

    def to(self, device: str) -> None:
        """Move all that computes."""
        for module in (self.teacher, self.student):
            module.to(device)
        for asr in (self.teacher_asr, self.student_asr):
            if asr is not None:
                asr.model.ctc.to(device)

    def write(self, directory: PathLike) -> Path:
        """The student, as an experiment directory or as ``stack.pt``; gives its path."""
        self.to("cpu")
        path = Path(directory)
        if self.student_asr is None:
            path.mkdir(parents=True, exist_ok=True)
            self.student.save(path / STACK)
            return path / STACK
        write_experiment(self.student_asr, self.student, path)
        return path


def load_models(
    teacher: PathLike,
    student: Optional[PathLike] = None,
    plan: Optional[PathLike] = None,
    seed: int = 0,
) -> Models:
    """Read the teacher, and read the student or make it of the teacher.

    Args:
        teacher: whatever ``load_stack`` reads; of an ESPnet experiment its CTC layer is read too.
        student: the same; an experiment has a CTC layer of its own, other stacks the teacher's.
        plan: a block plan for the teacher, in the place of ``student``.
        seed: of the parameters that mimics begin with.

    Raises:
        StackError, ExperimentError, PlanError: one line that names the file.
        ValueError: not one of student and plan.
    """
    if (student is None) == (plan is None):
        raise ValueError("give the student or a plan that makes it of the teacher")
    chosen = None if plan is None else BlockPlan.load(plan)
    teacher_stack, teacher_asr = _load(teacher)
    student_asr: Optional[Experiment]
    if chosen is not None:
        torch.manual_seed(seed)
        student_stack, student_asr = apply_plan(teacher_stack, chosen), None
    else:
        assert student is not None
        student_stack, student_asr = _load(student)
    if student_asr is None and teacher_asr is not None:
        model: Any = adopt(type(teacher_asr.model), teacher_asr.model)
        model.ctc = copy.deepcopy(model.ctc)
        student_asr = replace(teacher_asr, model=model)
    return Models(teacher_stack, student_stack, teacher_asr, student_asr)


def _load(path: PathLike) -> tuple[Stack, Optional[Experiment]]:
    if not (Path(path) / "config.yaml").is_file():
        stack, asr = load_stack(path), None
    else:
        asr = load_experiment(path)
        stack = stack_of(asr).eval()
        if not isinstance(getattr(asr.model, "ctc", None), nn.Module):
            raise StackError(f"{path}: its model has no CTC layer")
    if stack.takes != "waveform":
        raise StackError(f"{path}: takes {stack.takes}; only stacks that take waveforms can learn")
    return stack, asr
