"""Small networks in the place of all blocks of a classifier, with the paper's controls.

Dorszewski et al., ICASSP 2025 (arXiv 2409.16302): mimicking layers taught in two stages; the same
network without stage 1; the head on the projected features z alone.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import torch
import yaml
from torch import nn

from espnet_plugin.analysis.states.structure import first_similarity_block
from espnet_plugin.atomic import PathLike
from espnet_plugin.classify.accuracy import measure
from espnet_plugin.classify.classifier import Classifier
from espnet_plugin.classify.configuration import settings_from
from espnet_plugin.classify.recorded import Record
from espnet_plugin.classify.recordings import Recordings
from espnet_plugin.classify.train import task_of
from espnet_plugin.distill.mimic import block_cka, teach_mimic
from espnet_plugin.distill.settings import Settings
from espnet_plugin.distill.task import train_task, without_blocks
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.actions import MIMICS, Mimic
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, StackDescription


@dataclass(frozen=True)
class Shape:
    """A mimic; see :class:`espnet_plugin.surgery.actions.Mimic`."""

    kind: str
    layers: int
    hidden: int

    @property
    def name(self) -> str:
        """For tables and directories."""
        return f"{self.kind}{self.layers}_{self.hidden}"

    def plan(self, family: str, blocks: int) -> BlockPlan:
        """All blocks of a stack replaced by it."""
        action = Mimic((0, blocks - 1), self.hidden, self.layers, self.kind)
        return BlockPlan(StackDescription(family, blocks), (action,))


@dataclass(frozen=True)
class Study:
    """Which mimics, and how they are taught."""

    shapes: Sequence[Shape]
    stage1: Settings
    stage2: Settings
    batch_seconds: float


def read_study(path: PathLike) -> Study:
    """Read the YAML keys ``mimics`` (kind, layers and hidden each), ``stage1``, ``stage2`` (see
    :class:`Settings`) and ``batch_seconds``.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
    """
    try:
        values: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        shapes = tuple(Shape(**shape) for shape in values["mimics"])
        for shape in shapes:
            if shape.kind not in MIMICS or shape.layers not in (1, 2):
                raise ValueError(f"{shape.name}: 1 or 2 layers, {' or '.join(MIMICS)}")
        stages = [settings_from(values[stage]) for stage in ("stage1", "stage2")]
        return Study(shapes, stages[0], stages[1], float(values["batch_seconds"]))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except KeyError as error:
        raise ValueError(f"{path}: the key {error} is missing") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


class Lesson:
    """What all mimics of a classifier are taught with.

    Args:
        classifier: the teacher and its head.
        train, test: recordings to learn from and to be tested with.
        study: see there.
    """

    def __init__(
        self, classifier: Classifier, train: Recordings, test: Recordings, study: Study
    ) -> None:
        self.classifier, self.train, self.test, self.study = classifier.eval(), train, test, study
        teacher = classifier.stack
        self.bare = without_blocks(teacher).eval()
        cka = block_cka(teacher, train.batches(seed=0), 200)
        self.places = [first_similarity_block(cka), len(teacher.blocks) - 1]
        self.record = Record(self.bare, teacher, self.places, train)

    def all(self, directory: PathLike) -> Dict[str, Any]:
        """Teach everything; each mimic that is taught and trained goes to ``directory``/NAME.

        Returns:
            Plain values: ``places``, ``parameters`` of the teacher, ``z`` (the control), and
            ``mimics`` with the accuracy of every variant.
        """
        stack = self.classifier.stack
        return {
            "teacher_blocks": self.places,
            "parameters": {"model": count(stack), "blocks": count(stack.blocks)},
            "batch_seconds": self.study.batch_seconds,
            "stage1": asdict(self.study.stage1),
            "stage2": asdict(self.study.stage2),
            "full": measure(self.classifier, self.test).to_dict(),
            "z": self._z(),
            "mimics": [self._mimic(shape, Path(directory)) for shape in self.study.shapes],
        }

    def _z(self) -> Dict[str, Any]:
        head = copy.deepcopy(self.classifier.head)
        return self._trained(self.bare, head, frozen=False)

    def _mimic(self, shape: Shape, directory: Path) -> Dict[str, Any]:
        teacher, labels = self.classifier.stack, self.classifier.labels
        torch.manual_seed(self.study.stage1.seed)
        plan = shape.plan(teacher.family, len(teacher.blocks))
        untaught = apply_plan(teacher, plan).eval()
        taught = copy.deepcopy(untaught)
        teach_mimic(
            self.record.student(taught),
            self.record.teacher(),
            self.record.batches(self.study.batch_seconds, self.study.stage1.seed),
            {0: [0, 1] if shape.layers == 2 else [1]},
            self.study.stage1,
        )
        found: Dict[str, Any] = {
            **asdict(shape),
            "name": shape.name,
            "parameters": {"model": count(taught), "blocks": count(taught.blocks)},
            "stage 1": measure(
                Classifier(taught, labels, self.classifier.head), self.test
            ).to_dict(),
        }
        head = copy.deepcopy(self.classifier.head)
        found["both, frozen"] = self._trained(copy.deepcopy(taught), head, frozen=True)
        head = copy.deepcopy(self.classifier.head)
        found["both"] = self._trained(taught, head, frozen=False)
        Classifier(taught, labels, head).save(directory / shape.name)
        head = copy.deepcopy(self.classifier.head)
        found["stage 2"] = self._trained(untaught, head, frozen=False)
        return found

    def _trained(self, stack: Stack, head: nn.Linear, frozen: bool) -> Dict[str, Any]:
        """Stage 2 in place, and the accuracy."""
        labels, study = self.classifier.labels, self.study
        train_task(
            self.record.student(stack),
            head,
            task_of(head, labels, self.train),
            self.record.batches(study.batch_seconds, study.stage2.seed),
            study.stage2,
            frozen,
        )
        return measure(Classifier(stack, labels, head), self.test).to_dict()


def count(module: nn.Module) -> int:
    """Parameters, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def accuracies(mimic: Mapping[str, Any]) -> List[str]:
    """The variants of a mimic that have an accuracy."""
    return [name for name, value in mimic.items() if isinstance(value, dict) and "right" in value]
