"""What the command does, stage after stage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from espnet_plugin.distill.batches import SpeechBatches, at_random_speed
from espnet_plugin.distill.healing import Healing, Weights, heal
from espnet_plugin.distill.losses import ctc_loss
from espnet_plugin.distill.mimic import mimics_of, teach_mimic
from espnet_plugin.distill.models import Models
from espnet_plugin.distill.pairs import pairs_of
from espnet_plugin.distill.settings import Settings
from espnet_plugin.distill.task import train_task
from espnet_plugin.distill.transcripts import Transcripts
from espnet_plugin.stacks.batches import list_utterances, read_batch

STAGES = ("heal", "mimic", "task")
History = List[Dict[str, Any]]


class Job:
    """The stages of one command.

    Args:
        args: of ``bin.distill``.
        models: on their device.

    Raises:
        ValueError: one line: an option that does not fit the models or the data.
    """

    def __init__(self, args: argparse.Namespace, models: Models) -> None:
        self.args, self.models = args, models
        directories = [d for d in (args.data_dir, args.valid_data_dir) if d is not None]
        found = [list_utterances(directory, models.rate) for directory in directories]
        read = at_random_speed(args.speed_perturb, args.seed) if args.speed_perturb else read_batch
        self.batches = SpeechBatches(found[0], args.batch_seconds, args.seed, read)
        self.valid: Optional[SpeechBatches] = None
        if args.valid_data_dir is not None:
            self.valid = SpeechBatches(found[1], args.batch_seconds, None)
        self.stages = list(args.stages or self._usual())
        self.labels: Optional[Transcripts] = None
        if "task" in self.stages or args.ctc_weight:
            if models.student_asr is None:
                raise ValueError("transcripts are of use with an ESPnet experiment as teacher only")
            names = [u.utt_id for utterances in found for u in utterances]
            self.labels = Transcripts(models.student_asr, directories, names)

    def run(self) -> Dict[str, History]:
        """Train; the history of each stage, by ``1_mimic`` and the like."""
        runs: Dict[str, Callable[[Settings, Path], History]] = {
            "heal": self.heal,
            "mimic": self.mimic,
            "task": self.task,
        }
        histories = {}
        for number, stage in enumerate(self.stages):
            name = f"{number + 1}_{stage}"
            directory = Path(self.args.out) / "distill" / name
            histories[name] = runs[stage](self.settings(number), directory)
        return histories

    def settings(self, number: int) -> Settings:
        """Those of the stage ``number``; a list of limits has one for each."""
        args = self.args
        fields = {name: getattr(args, name) for name in Settings.__dataclass_fields__}
        for name in ("max_updates", "max_seconds"):
            fields[name] = _of_stage(fields[name], number, len(self.stages), name)
        return Settings(**fields)

    def heal(self, settings: Settings, directory: Path) -> History:
        """Hidden states, CTC posteriors, transcripts."""
        args, models = self.args, self.models
        posteriors = args.posterior_weight
        if posteriors is None:
            posteriors = 0.0 if models.teacher_asr is None else 1.0
        if posteriors and models.teacher_asr is None:
            raise ValueError("--posterior_weight: the teacher is no ESPnet experiment")
        weights = Weights(args.hidden_weight, posteriors, args.ctc_weight)
        pairs = None
        if args.blocks is not None:
            pairs = pairs_of(models.student, models.teacher, args.blocks)
        teacher_asr, student_asr = models.teacher_asr, models.student_asr
        healing = Healing(
            models.teacher,
            models.student,
            pairs,
            args.hidden_loss,
            weights,
            None if student_asr is None else student_asr.model.ctc.log_softmax,
            self.labels,
            args.train_front,
            None if teacher_asr is None else teacher_asr.model.ctc.log_softmax,
        )
        said = {"pairs": [list(pair) for pair in healing.pairs], "hidden_loss": args.hidden_loss}
        said = {**self.said(), **said, "weights": list(vars(weights).values())}
        return heal(healing, self.batches, settings, self.valid, directory, said)

    def mimic(self, settings: Settings, directory: Path) -> History:
        """Stage 1 of mimicking."""
        models, places = self.models, None
        if self.args.teacher_blocks is not None:
            mimics = list(mimics_of(models.student))
            if len(mimics) != 1:
                raise ValueError(f"--teacher_blocks is for one mimic, and there are {len(mimics)}")
            where = {number: i for i, number in enumerate(models.teacher.block_numbers)}
            places = {mimics[0]: [where.get(block, block) for block in self.args.teacher_blocks]}
        student, teacher = models.student, models.teacher
        return teach_mimic(
            student, teacher, self.batches, places, settings, self.valid, directory, self.said()
        )

    def task(self, settings: Settings, directory: Path) -> History:
        """Stage 2 of mimicking: CTC through the head, a copy of the teacher's."""
        assert self.labels is not None and self.models.student_asr is not None
        head, labels = self.models.student_asr.model.ctc, self.labels

        def loss(x: Any, lengths: Any, names: Any) -> Any:
            return ctc_loss(head.log_softmax(x), lengths, labels(names))

        frozen = self.args.frozen
        said = {**self.said(), "frozen": frozen}
        return train_task(
            self.models.student,
            head,
            loss,
            self.batches,
            settings,
            frozen,
            self.valid,
            directory,
            said,
        )

    def said(self) -> Dict[str, Any]:
        """What else a checkpoint depends on."""
        args = self.args
        names = ("teacher", "student", "plan", "data_dir", "valid_data_dir", "batch_seconds")
        said = {**{name: getattr(args, name) for name in names}, "train_front": args.train_front}
        if args.speed_perturb:  # checkpoints of before there was this have no such name
            said["speed_perturb"] = args.speed_perturb
        return said

    def _usual(self) -> Tuple[str, ...]:
        if not mimics_of(self.models.student) or self.args.plan is None:
            return ("heal",)
        text = (Path(self.args.data_dir) / "text").is_file()
        return ("mimic", "task") if self.models.student_asr and text else ("mimic",)


def _of_stage(values: Optional[List[Any]], number: int, stages: int, name: str) -> Any:
    if values is None or len(values) == 1:
        return None if values is None else values[0]
    if len(values) != stages:
        raise ValueError(f"--{name}: give one number, or one for each of the {stages} stages")
    return values[number]
