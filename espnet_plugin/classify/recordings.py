"""Recordings with a label each, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

from espnet_plugin.atomic import PathLike
from espnet_plugin.distill.batches import SpeechBatches
from espnet_plugin.stacks.batches import (
    Batch,
    DataError,
    Utterance,
    list_utterances,
    read_batch,
)

RATE = 16000
"""Samples per second that stacks of waveforms take."""
TASKS = {"word": "text", "speaker": "utt2spk"}
"""What is classified -> the file of a Kaldi directory that has the labels."""
SHORTEST = 1600
"""Samples; what is shorter gets zeros up to it, so that every stack finds a frame."""


@dataclass(frozen=True)
class Recordings:
    """Recordings of one set."""

    utterances: Tuple[Utterance, ...]
    waveforms: Dict[str, Tensor]
    """(N,) float32 by name, 16 kHz."""
    labels: Dict[str, str]
    """By name."""

    @property
    def seconds(self) -> float:
        return sum(utterance.seconds for utterance in self.utterances)

    @property
    def classes(self) -> Tuple[str, ...]:
        """The labels that occur, sorted."""
        return tuple(sorted(set(self.labels.values())))

    def batches(self, max_seconds: float = 25.0, seed: Optional[int] = None) -> SpeechBatches:
        """Batches of like length: the same in every epoch, or by ``seed`` drawn afresh."""
        return SpeechBatches(self.utterances, max_seconds, seed, self.read)

    def read(self, batch: List[Utterance]) -> Batch:
        """Names, waveforms (B, N) with zeros after each end, lengths (B,)."""
        names = [utterance.utt_id for utterance in batch]
        found = [self.waveforms[name] for name in names]
        lengths = torch.tensor([len(waveform) for waveform in found])
        waveforms = nn.utils.rnn.pad_sequence(found, batch_first=True)
        return names, *long_enough(waveforms, lengths)

    def first(self, count: int) -> Recordings:
        """``count`` recordings, evenly spaced by name; all, where there are no more."""
        step = max(1, len(self.utterances) // count)
        chosen = self.utterances[::step][:count]
        names = {utterance.utt_id for utterance in chosen}
        return Recordings(
            chosen,
            {name: waveform for name, waveform in self.waveforms.items() if name in names},
            {name: label for name, label in self.labels.items() if name in names},
        )


def long_enough(waveforms: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
    """Count what is shorter than :data:`SHORTEST` as if zeros followed up to there."""
    missing = max(0, SHORTEST - waveforms.size(1))
    return nn.functional.pad(waveforms, (0, missing)), lengths.clamp(min=SHORTEST)


def read_recordings(data_dir: PathLike, task: str) -> Recordings:
    """All recordings of a Kaldi directory, sorted by name.

    Args:
        data_dir: with wav.scp and the file of labels.
        task: one of :data:`TASKS`.

    Raises:
        DataError: as :func:`espnet_plugin.stacks.batches.list_utterances`; a recording that has no
            label, or another rate than 16 kHz; an unknown task.
    """
    if task not in TASKS:
        raise DataError(f"unknown task {task!r} (one of {', '.join(TASKS)})")
    file = Path(data_dir) / TASKS[task]
    if not file.is_file():
        raise DataError(f"{file}: not there")
    pairs = [line.split(maxsplit=1) for line in file.read_text(encoding="utf-8").splitlines()]
    labels = {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
    utterances = tuple(sorted(list_utterances(data_dir, RATE), key=lambda u: u.utt_id))
    for utterance in utterances:
        if utterance.utt_id not in labels:
            raise DataError(f"{file}: no label for {utterance.utt_id}")
    return Recordings(
        utterances,
        {utterance.utt_id: read_batch([utterance])[1][0] for utterance in utterances},
        {utterance.utt_id: labels[utterance.utt_id] for utterance in utterances},
    )
