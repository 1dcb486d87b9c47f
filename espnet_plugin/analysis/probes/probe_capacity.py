"""The accuracy of a fitted probe as the capacity of a stack, for pruning curves and rankings.

The probe stays as it was fitted on the unedited model; what an edit changes in the last hidden
state shows in its accuracy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import FrozenSet, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from espnet_plugin.analysis.maps.attention_report import AnalysisError
from espnet_plugin.analysis.phonemes.frames import FrameClock, clock_of
from espnet_plugin.analysis.phonemes.labels import PhoneLabels
from espnet_plugin.analysis.probes.capacity import Capacity
from espnet_plugin.atomic import PathLike
from espnet_plugin.stacks.batches import Utterance, plan_batches, read_batch
from espnet_plugin.stacks.stack import Stack


@dataclass(frozen=True)
class StoredProbe:
    """One probe of an analysis directory."""

    head: nn.Linear
    """Features (…, D) -> scores (…, C), float32."""
    classes: Tuple[str, ...]
    """The labels of the scores."""
    held_out: FrozenSet[str]
    """The utterances of the part that it was not fitted on."""

    @classmethod
    def load(
        cls,
        directory: PathLike,
        name: str = "phone_probe",
        state: int = -1,
        fingerprint: Optional[str] = None,
    ) -> StoredProbe:
        """Read what ``analyze`` wrote.

        Args:
            directory: of the analysis.
            name: phone_probe, word_probe or speaker_probe.
            state: of which hidden state; −1: the last one.
            fingerprint: of the model that it is to be of
                (:attr:`espnet_plugin.analysis.suite.subject.Subject.fingerprint`).

        Raises:
            AnalysisError: not measured there, a probe that could not be fitted, no such state, or
                of another model; one line.
        """
        base = Path(directory) / name
        try:
            found = json.loads(base.with_suffix(".json").read_text(encoding="utf-8"))
            if found.get("reason"):
                raise AnalysisError(f"{base}.json: could not be fitted: {found['reason']}")
            if fingerprint not in (None, found["model"]["sha256"]):
                raise AnalysisError(
                    f"{base}.json: of {found['model']['directory']} with other parameters; "
                    "analyze this model"
                )
            with np.load(base.with_suffix(".npz"), allow_pickle=False) as arrays:
                weight, bias = arrays["weight"][state], arrays["bias"][state]
                classes = tuple(str(label) for label in arrays["classes"])
            held_out = frozenset(found["held_out"])
        except AnalysisError:
            raise
        except (OSError, KeyError, ValueError, IndexError) as error:
            said = " ".join(str(error).split())
            raise AnalysisError(
                f"{base}.npz: no probe of state {state} ({said}); measure {name} with analyze"
            ) from None
        head = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(weight))
            head.bias.copy_(torch.from_numpy(bias))
        return cls(head.eval(), classes, held_out)


@torch.no_grad()
def frame_hits(
    head: nn.Linear, symbols: Tensor, hidden: Tensor, frames: Tensor, labels: Sequence[Tensor]
) -> List[Tuple[int, int]]:
    """How often a probe of frames is right.

    Args:
        head: (…, D) -> (…, C).
        symbols: (C,) int64: which label each score stands for.
        hidden: (B, T, D).
        frames: (B,) valid ones.
        labels: (T_u,) int64 of each utterance, below 0 where a frame does not count.

    Returns:
        Right ones, and those that count, of each utterance.
    """
    found = []
    for row, length, wanted in zip(hidden, frames.tolist(), labels, strict=True):
        said = symbols[head(row[:length]).argmax(dim=-1).cpu()]
        counts = wanted >= 0
        found.append((int((said == wanted)[counts].sum()), int(counts.sum())))
    return found


def phone_capacity(
    probe: StoredProbe,
    utterances: Sequence[Utterance],
    labels: PhoneLabels,
    clock: Optional[FrameClock] = None,
    batch_seconds: float = 60.0,
) -> Capacity:
    """The share of frames whose phone a probe reads rightly from the output of a stack.

    Args:
        probe: of the last state of the unedited stack.
        utterances: of which those in ``probe.held_out`` are taken, where any of them are.
        labels: with the classes that the probe was fitted with.
        clock: of the frames; None: that of the stack.
        batch_seconds: speech of a batch.

    Raises:
        ValueError: no utterance with an alignment, or a class that the labels do not have.
    """
    there = [u for u in utterances if u.utt_id in labels]
    held_out = [u for u in there if u.utt_id in probe.held_out]
    chosen = held_out or there
    if not chosen:
        raise ValueError(f"no utterance has an alignment in {labels.source}")
    if not set(probe.classes) <= set(labels.symbols):
        raise ValueError("the probe's phones are not those of the labels; --stress is for both")
    symbols = torch.tensor([labels.symbols.index(label) for label in probe.classes])
    batches = plan_batches(chosen, batch_seconds)

    @torch.no_grad()
    def capacity(stack: Stack) -> float:
        device = next(stack.parameters()).device
        head, ticks = probe.head.to(device), clock or clock_of(stack)
        right = total = 0
        for batch in batches:
            names, speech, lengths = read_batch(batch)
            hidden, frames = stack.output(speech.to(device), lengths.to(device))
            wanted = [
                labels.frames(name, ticks, count, batch[0].rate)
                for name, count in zip(names, frames.tolist(), strict=True)
            ]
            for hits, count in frame_hits(head, symbols, hidden, frames, wanted):
                right, total = right + hits, total + count
        if not total:
            raise ValueError("no frame of these utterances has a phone")
        return right / total

    return capacity


def utterance_capacity(probe: StoredProbe, data_dir: PathLike, task: str) -> Capacity:
    """The share of recordings whose word or speaker a probe reads rightly.

    Args:
        probe: of the last state of the unedited stack.
        data_dir: Kaldi directory; of its recordings those in ``probe.held_out`` are taken, where
            any of them are. Labels that the probe does not know are left out.
        task: word or speaker.

    Raises:
        DataError: as :func:`espnet_plugin.classify.recordings.read_recordings`.
        ValueError: no recording has a label of the probe's.
    """
    from espnet_plugin.classify.accuracy import accuracy_of
    from espnet_plugin.classify.recordings import Recordings, read_recordings

    read = read_recordings(data_dir, task)
    known = [u for u in read.utterances if read.labels[u.utt_id] in probe.classes]
    chosen = [u for u in known if u.utt_id in probe.held_out] or known
    if not chosen:
        raise ValueError(f"{data_dir}: no recording has a label that the probe knows")
    names = [u.utt_id for u in chosen]
    recordings = Recordings(
        tuple(chosen),
        {name: read.waveforms[name] for name in names},
        {name: read.labels[name] for name in names},
    )
    return accuracy_of(probe.head, probe.classes, recordings)
