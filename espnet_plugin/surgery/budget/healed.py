"""What damage is left after a short healing, the same for every plan."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List

from espnet_plugin.distill.batches import SpeechBatches
from espnet_plugin.distill.healing import Healing, Weights, heal
from espnet_plugin.distill.settings import Settings
from espnet_plugin.stacks.batches import Utterance
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan
from espnet_plugin.surgery.subject import Subject


@dataclass(frozen=True)
class Trial:
    """A healing that says how well an edited stack learns.

    Attributes:
        utterances: to learn from; no transcripts are needed.
        settings: how long and how fast.
        batch_seconds: speech of a batch.
        seed: of the order of the batches.
    """

    utterances: List[Utterance]
    settings: Settings = field(default_factory=lambda: Settings(max_updates=60))
    batch_seconds: float = 60.0
    seed: int = 0

    def description(self) -> Dict[str, Any]:
        """Plain values, for people."""
        return {
            **asdict(self.settings),
            "batch_seconds": self.batch_seconds,
            "utterances": len(self.utterances),
        }

    def key(self) -> str:
        """A short name of everything that its outcome depends on, besides stack and plan."""
        speech = [(u.utt_id, u.samples) for u in self.utterances]
        said = [asdict(self.settings), self.batch_seconds, self.seed, speech]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def healed_edit(subject: Subject, plan: BlockPlan, trial: Trial) -> Stack:
    """The stack that a plan makes, taught by the unedited one as ``bin.distill`` does by default.

    That is: hidden states after each gap, the final output and, with a CTC layer, its posteriors;
    without held-out data, so that nothing is chosen by the speech that damage is measured on.

    Raises:
        PlanError: the plan does not fit.
        ValueError: a batch that cannot be used; losses that are no numbers.
    """
    student = apply_plan(subject.stack, plan)
    log_probs, weights = None, Weights()
    if subject.experiment is not None:
        log_probs, weights = subject.experiment.model.ctc.log_softmax, Weights(posteriors=1.0)
    healing = Healing(subject.stack, student, weights=weights, log_probs=log_probs)
    heal(healing, SpeechBatches(trial.utterances, trial.batch_seconds, trial.seed), trial.settings)
    return student.eval()
