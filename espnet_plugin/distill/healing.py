"""Short training of an edited stack towards its original, on speech without transcripts.

That hidden states of chosen blocks and CTC posteriors are compared, and which by default, is an
inference: the papers behind the edits train on transcripts or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from torch import Tensor, nn

from espnet_plugin.atomic import PathLike
from espnet_plugin.distill import losses
from espnet_plugin.distill.batches import SpeechBatches
from espnet_plugin.distill.front import Front, front_parameters
from espnet_plugin.distill.pairs import Pair, default_pairs, outputs
from espnet_plugin.distill.settings import DEFAULT, Settings
from espnet_plugin.distill.train import train
from espnet_plugin.stacks.batches import Batch
from espnet_plugin.stacks.stack import Stack

LogProbs = Callable[[Tensor], Tensor]
"""From the output of a stack (B, T, D) to log posteriors (B, T, V)."""
Labels = Callable[[Sequence[str]], List[List[int]]]
"""From utterance ids to the tokens of their transcripts."""


@dataclass(frozen=True)
class Weights:
    """Of the terms of :class:`Healing`; a term of weight 0 is not computed.

    Raises:
        ValueError: a weight below 0, or none above.
    """

    hidden: float = 1.0
    """The mean over pairs of the loss on hidden states."""
    posteriors: float = 0.0
    """KL(teacher || student) of CTC posteriors per frame; needs a CTC layer."""
    ctc: float = 0.0
    """CTC loss per frame; needs transcripts."""

    def __post_init__(self) -> None:
        values = vars(self).values()
        if not all(0 <= value < float("inf") for value in values) or not any(values):
            raise ValueError(f"weights of losses must be 0 or above, and one above: {self}")


HIDDEN_ALONE = Weights()


class Healing:
    """The distance of a student from its teacher.

    Args:
        teacher: is put into evaluation mode.
        student: on the same device.
        pairs: whose hidden states are compared; None: :func:`default_pairs`.
        hidden: how, a key of :data:`espnet_plugin.distill.losses.HIDDEN`.
        weights: of the terms.
        log_probs: the CTC layer, which is not trained.
        labels: transcripts.
        train_front: whether everything before block 0 is trained too. If not, it is computed once
            for both where it is the same.
        teacher_log_probs: the teacher's CTC layer, if it has another one.

    Raises:
        ValueError: one line: what a weight needs is not given; pairs that are not there; stacks of
            different widths, or with another number of frames per second.
    """

    def __init__(
        self,
        teacher: Stack,
        student: Stack,
        pairs: Optional[Sequence[Pair]] = None,
        hidden: str = "mse",
        weights: Weights = HIDDEN_ALONE,
        log_probs: Optional[LogProbs] = None,
        labels: Optional[Labels] = None,
        train_front: bool = False,
        teacher_log_probs: Optional[LogProbs] = None,
    ) -> None:
        if teacher.width != student.width or teacher.takes != student.takes:
            raise ValueError(
                f"the student ({student.takes}, width {student.width}) is not edited from the "
                f"teacher ({teacher.takes}, width {teacher.width})"
            )
        if hidden not in losses.HIDDEN:
            known = ", ".join(losses.HIDDEN)
            raise ValueError(f"the loss on hidden states must be one of {known}, not {hidden!r}")
        if (weights.posteriors or weights.ctc) and log_probs is None:
            raise ValueError("CTC losses need a teacher with a CTC layer: an ESPnet experiment")
        if weights.ctc and labels is None:
            raise ValueError("the CTC loss needs transcripts")
        self.teacher, self.student = teacher.eval(), student
        self.pairs = tuple(default_pairs(student, teacher) if pairs is None else pairs)
        self.distance, self.weights = losses.HIDDEN[hidden], weights
        self.log_probs, self.teacher_log_probs = log_probs, teacher_log_probs or log_probs
        self.labels, self.train_front = labels, train_front
        self.front = Front(teacher, student, train_front)

    def parameters(self) -> List[nn.Parameter]:
        """Of the student, those that are trained."""
        front = [] if self.train_front else [id(p) for p in front_parameters(self.student)]
        return [p for p in self.student.parameters() if id(p) not in front]

    def __call__(self, batch: Batch) -> Dict[str, Tensor]:
        """``loss``, the weighted sum, and its terms ``hidden``, ``posteriors`` and ``ctc``."""
        weights = self.weights
        ours, theirs = self.front(batch)
        lengths = ours.lengths
        if not torch.equal(lengths, theirs.lengths):
            raise ValueError("teacher and student give different numbers of frames")
        pairs = self.pairs if weights.hidden else ()
        last = len(self.teacher.blocks) - 1, len(self.student.blocks) - 1
        heads = bool(weights.posteriors or weights.ctc)
        with torch.no_grad():
            wanted = [p.teacher for p in pairs] + ([last[0]] if weights.posteriors else [])
            original = outputs(self.teacher, ours, wanted)
        imitated = outputs(
            self.student, theirs, [p.student for p in pairs] + ([last[1]] if heads else [])
        )
        terms: Dict[str, Tensor] = {}
        if pairs:
            each = [self.distance(imitated[p.student], original[p.teacher], lengths) for p in pairs]
            terms["hidden"] = torch.stack(each).mean()
        if heads:
            assert self.log_probs is not None and self.teacher_log_probs is not None
            posteriors = self.log_probs(imitated[last[1]])
            if weights.posteriors:
                with torch.no_grad():
                    expected = self.teacher_log_probs(original[last[0]])
                terms["posteriors"] = losses.divergence(posteriors, expected, lengths)
            if weights.ctc:
                assert self.labels is not None
                terms["ctc"] = losses.ctc_loss(posteriors, lengths, self.labels(batch[0]))
        weighted = [getattr(weights, name) * term for name, term in terms.items()]
        return {"loss": torch.stack(weighted).sum(), **terms}


def heal(
    healing: Healing,
    batches: SpeechBatches,
    settings: Settings = DEFAULT,
    valid: Optional[SpeechBatches] = None,
    directory: Optional[PathLike] = None,
    said: Optional[Dict[str, Any]] = None,
) -> List[Dict[str, Any]]:
    """Train ``healing.student``, in place; see :func:`espnet_plugin.distill.train.train`."""
    parameters, student = healing.parameters(), healing.student
    return train(healing, student, parameters, batches, settings, valid, directory, "heal", said)
