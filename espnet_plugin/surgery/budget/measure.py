"""Measurements of plans, each made once and kept in a journal."""

from __future__ import annotations

import hashlib
import json
import platform
from statistics import fmean
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from espnet_plugin.atomic import PathLike
from espnet_plugin.decode.journal import Journal
from espnet_plugin.progress import progress
from espnet_plugin.stacks.batches import Utterance
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.budget.damage import MEASURES, Damage, Lost, first_touched
from espnet_plugin.surgery.budget.healed import Trial, healed_edit
from espnet_plugin.surgery.budget.latency import (
    Clock,
    outside_blocks,
    relative_times,
    speech_of,
    stretch_costs,
)
from espnet_plugin.surgery.budget.moves import Choice, Move, key_of, plan_of
from espnet_plugin.surgery.budget.sizes import shared_edit, sizes_of
from espnet_plugin.surgery.budget.task import Task
from espnet_plugin.surgery.subject import Subject

Times = Tuple[float, float, float]


class Measurer:
    """What plans for one model cost and what damage they do.

    Args:
        subject: the model.
        utterances: damage is measured on these.
        others: a plan that was chosen on the first is checked on these; may be empty.
        seconds: lengths of speech that times are taken at; the mean over them counts.
        batch: utterances at once there.
        clock: how times are taken.
        journal: a file that keeps every measurement; None: they are kept in memory. One made with
            another model, other speech or another machine is begun anew.
        batch_seconds: speech of a batch, for damage.
        task: what damage is the loss of; None: it is how far the model's outputs move.
    """

    def __init__(
        self,
        subject: Subject,
        utterances: Sequence[Utterance],
        others: Sequence[Utterance],
        seconds: Sequence[float],
        batch: int = 1,
        clock: Optional[Clock] = None,
        journal: Optional[PathLike] = None,
        batch_seconds: float = 60.0,
        task: Optional[Task] = None,
    ) -> None:
        self.task = task
        self.subject, self.stack = subject, subject.stack
        self.clock = clock or Clock()
        self.seconds, self.batch = list(seconds), batch
        self.utterances, self.others = list(utterances), list(others)
        self._batch_seconds = batch_seconds
        self._speech: List[Tuple[Tensor, Tensor]] = []
        for length in seconds:
            speech, samples = speech_of(utterances, length, batch)
            self._speech.append((speech.to(self.clock.device), samples.to(self.clock.device)))
        self._damages: Dict[str, Union[Damage, Lost]] = {}
        self._journal = None if journal is None else Journal(journal, self.conditions())
        self._known: Dict[str, Dict[str, Any]] = {}
        for entry in [] if self._journal is None else self._journal.entries:
            self._known.setdefault(entry["what"], {})[entry["of"]] = entry["value"]

    @property
    def measure(self) -> str:
        """What damage is, for people."""
        if self.task is not None:
            return f"{self.task.name}: what is lost of it"
        return MEASURES[self.subject.experiment is not None]

    @property
    def unit(self) -> str:
        """Of damage."""
        if self.task is not None:
            return self.task.name
        return "nats/frame" if self.subject.experiment is not None else "1-cosine"

    def capacity(self) -> Optional[float]:
        """The task's capacity of the unedited model on the utterances of the search."""
        if self.task is None:
            return None
        if "capacity" not in self._of("capacity"):
            lost = self._measure_of("damage", self.utterances)
            assert isinstance(lost, Lost)
            self._note("capacity", "capacity", lost.original)
        return float(self._of("capacity")["capacity"])

    def conditions(self) -> Dict[str, Any]:
        """Everything that the measurements depend on."""
        return {
            "model": _fingerprint(self.stack),
            "plans": [plan.to_yaml() for plan in self.stack.plans],
            "damage": self.measure,
            "task": None if self.task is None else _digest(self.task.identity),
            "utterances": [u.utt_id for u in self.utterances],
            "others": [u.utt_id for u in self.others],
            "seconds": self.seconds,
            "batch": self.batch,
            "threads": torch.get_num_threads(),
            "device": _device(self.clock.device),
            "torch": torch.__version__,
        }

    # -- damage -------------------------------------------------------------------------------

    def damage(self, choice: Sequence[Move]) -> float:
        """See :class:`Damage` and :class:`Lost`; on the utterances of the search."""
        return self._damage("damage", self.utterances, choice)

    def check(self, choice: Sequence[Move]) -> Optional[float]:
        """Damage on the other utterances; None where there are none."""
        return self._damage("check", self.others, choice) if self.others else None

    def _damage(self, what: str, utterances: List[Utterance], choice: Sequence[Move]) -> float:
        key = key_of(choice)
        if key not in self._of(what):
            actions = [action for move in choice for action in move.actions]
            edited = shared_edit(self.stack, plan_of(choice, self.subject.description))
            value = self._damage_of(what, utterances, edited, first_touched(actions))
            self._note(what, key, value)
        return float(self._of(what)[key])

    def _damage_of(
        self, what: str, utterances: List[Utterance], edited: Stack, first: int = 0
    ) -> float:
        value = max(0.0, self._measure_of(what, utterances)(edited, first))
        if value != value:
            raise ValueError(f"{self.subject.path}: the damage of an edit is not a number")
        return value

    def _measure_of(self, what: str, utterances: List[Utterance]) -> Union[Damage, Lost]:
        if what not in self._damages:
            divergence = Damage(self.subject, utterances, self._batch_seconds)
            self._damages[what] = (
                divergence
                if self.task is None
                else Lost(divergence, self.task.capacity(utterances))
            )
        return self._damages[what]

    def healed(self, choice: Sequence[Move], trial: Trial) -> Tuple[float, Optional[float]]:
        """Damage after a short healing: on the utterances of the search, and on the others."""
        key = f"{key_of(choice)} {trial.key()}"
        if key not in self._of("healed"):
            student = healed_edit(self.subject, plan_of(choice, self.subject.description), trial)
            check = self._damage_of("check", self.others, student) if self.others else None
            damage = self._damage_of("damage", self.utterances, student)
            self._note("healed", key, [damage, check])
        damage, check = self._of("healed")[key]
        return float(damage), check

    # -- sizes and times ----------------------------------------------------------------------

    def sizes(self, choice: Sequence[Move]) -> Tuple[int, int]:
        """Parameters; and multiply-accumulate operations at the first length, one utterance."""
        key = key_of(choice)
        if key not in self._of("sizes"):
            edited = shared_edit(self.stack, plan_of(choice, self.subject.description))
            speech, lengths = self._speech[0]
            self._note("sizes", key, sizes_of(edited, speech[:1], lengths[:1]))
        parameters, macs = self._of("sizes")[key]
        return parameters, macs

    def frames(self) -> int:
        """Hidden frames of the longest speech that times are taken at."""
        with torch.no_grad():
            return max(int(self.stack.embed(*speech).x.size(1)) for speech in self._speech)

    def original_time(self) -> Tuple[float, float]:
        """Seconds of the unedited stack, and the share outside its blocks; means over lengths."""
        if "original" not in self._of("original"):
            found = [outside_blocks(self.stack, speech, self.clock) for speech in self._speech]
            self._note("original", "original", _means(found))
        whole, share = self._of("original")["original"]
        return whole, share

    def time_costs(self, moves: Iterable[Move]) -> Dict[Move, float]:
        """What each move adds to the time, as a share of it; see :func:`stretch_costs`."""
        moves = list(moves)
        known = self._of("time cost")
        by_first: Dict[int, List[Move]] = {}
        for move in moves:
            if key_of([move]) not in known:
                by_first.setdefault(move.first, []).append(move)
        for some in progress(list(by_first.values()), "times of moves (blocks)"):
            edited = {m: shared_edit(self.stack, self._alone(m)) for m in some}
            found = [stretch_costs(self.stack, edited, s, self.clock) for s in self._speech]
            for move in some:
                self._note("time cost", key_of([move]), fmean(one[move] for one in found))
        return {move: known[key_of([move])] for move in moves}

    def times(self, choices: Iterable[Choice], together: int = 12) -> Dict[Choice, Times]:
        """Times of whole edited stacks as shares of the unedited one's: quartiles over rounds.

        Args:
            choices: plans, carried out by :func:`apply_plan`.
            together: the most stacks in memory at once.
        """
        known = self._of("times")
        wanted = {key_of(choice): choice for choice in choices}
        new = [key for key in wanted if key not in known]
        groups = [new[i : i + together] for i in range(0, len(new), together)]
        for keys in progress(groups, "times of plans (groups)"):
            description = self.subject.description
            edited = {k: apply_plan(self.stack, plan_of(wanted[k], description)) for k in keys}
            found = [relative_times(self.stack, edited, s, self.clock) for s in self._speech]
            for key in keys:
                self._note("times", key, _means([one[key] for one in found]))
        return {choice: tuple(known[key]) for key, choice in wanted.items()}

    # -- the journal --------------------------------------------------------------------------

    def _alone(self, move: Move) -> Any:
        return plan_of((move,), self.subject.description)

    def _of(self, what: str) -> Dict[str, Any]:
        return self._known.setdefault(what, {})

    def _note(self, what: str, of: str, value: Any) -> None:
        self._of(what)[of] = value
        if self._journal is not None:
            self._journal.add({"what": what, "of": of, "value": value})


def _means(rows: Sequence[Sequence[float]]) -> List[float]:
    """Of each column."""
    return [fmean(column) for column in zip(*rows, strict=True)]


def _digest(identity: Any) -> str:
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def _fingerprint(stack: Stack) -> str:
    digest = hashlib.sha256()
    for name, tensor in stack.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()[:16]


def _device(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{platform.node()} {platform.machine()}"
