"""What fitted probes read rightly from the output of an edited model, as its capacity.

A probe stays as it was fitted on the last hidden state of the unedited model; what an edit changes
there shows in the errors of the probe.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence, Set, Tuple

import torch
from torch import Tensor

from espnet_plugin.analysis.phonemes.frames import FrameClock
from espnet_plugin.analysis.phonemes.labels import PhoneLabels
from espnet_plugin.analysis.probes.capacity import Capacity
from espnet_plugin.analysis.probes.stored_probe import StoredProbe
from espnet_plugin.atomic import PathLike
from espnet_plugin.stacks.batches import Utterance, plan_batches, read_batch, read_labels
from espnet_plugin.stacks.stack import Stack

READ = {"phone": "frames", "word": "utterances", "speaker": "utterances"}
"""What probes read, and what is counted."""


class Reader:
    """Counts what a probe reads wrongly; :class:`PhoneReader` and :class:`LabelReader` do.

    Attributes:
        counted: the utterances that count: those that the probe was not fitted on, where any of
            them are.
    """

    def __init__(self, probe: StoredProbe, names: Set[str]) -> None:
        self.probe = probe
        self.counted = names & probe.held_out or names

    def identity(self) -> List[Any]:
        """What its counts depend on besides the hidden states; JSON."""
        return [self.probe.fingerprint, sorted(self.counted)]

    def __call__(
        self, names: Sequence[str], hidden: Tensor, lengths: Tensor
    ) -> List[Tuple[int, int]]:
        """What is read wrongly, and what is counted, of each utterance of a batch.

        Args:
            names: of the utterances.
            hidden: (B, T, D), the last hidden state.
            lengths: (B,) valid frames.

        Returns:
            (0, 0) of an utterance that does not count.
        """
        self.probe.head.to(hidden.device)
        return [
            self.read(name, row[:length]) if name in self.counted else (0, 0)
            for name, row, length in zip(names, hidden, lengths.tolist(), strict=True)
        ]

    def read(self, name: str, frames: Tensor) -> Tuple[int, int]:
        """The same of one utterance that counts; its valid frames (T, D)."""
        raise TypeError(f"{type(self).__name__} does not say what it reads")


class PhoneReader(Reader):
    """Reads the phone of each frame; see :class:`Reader`.

    Args:
        probe: of ``analyze``'s measure ``phone_probe``.
        labels: alignments, with the classes that the probe was fitted with.
        clock: of the frames.
        utterances: the speech; those without an alignment do not count.

    Raises:
        ValueError: a class that the labels do not have, or no utterance with an alignment.
    """

    def __init__(
        self,
        probe: StoredProbe,
        labels: PhoneLabels,
        clock: FrameClock,
        utterances: Sequence[Utterance],
    ) -> None:
        if not set(probe.classes) <= set(labels.symbols):
            raise ValueError("the probe's phones are not those of the alignments")
        there = {u.utt_id for u in utterances if u.utt_id in labels}
        if not there:
            raise ValueError(
                f"no utterance has an alignment in {labels.source}; name those of this data"
            )
        super().__init__(probe, there)
        self.labels, self.clock = labels, clock
        self.rate = utterances[0].rate
        self._symbols = torch.tensor([labels.symbols.index(name) for name in probe.classes])

    def identity(self) -> List[Any]:
        """See :class:`Reader`; alignments count by where they are."""
        return [*super().identity(), self.labels.source, list(self.labels.symbols)]

    def read(self, name: str, frames: Tensor) -> Tuple[int, int]:
        """See :class:`Reader`; frames with a phone are counted."""
        wanted = self.labels.frames(name, self.clock, len(frames), self.rate)
        said = self._symbols[self.probe.head(frames).argmax(dim=-1).cpu()]
        counts = wanted >= 0
        return int((said != wanted)[counts].sum()), int(counts.sum())


class LabelReader(Reader):
    """Reads the word or the speaker of each utterance; see :class:`Reader`.

    Args:
        probe: of ``analyze``'s measure ``word_probe`` or ``speaker_probe``.
        labels: of the utterances. Those with a label that the probe does not know do not count.
        utterances: the speech.

    Raises:
        ValueError: no utterance has a label of the probe's.
    """

    def __init__(
        self, probe: StoredProbe, labels: Mapping[str, str], utterances: Sequence[Utterance]
    ) -> None:
        number = {label: place for place, label in enumerate(probe.classes)}
        names = [u.utt_id for u in utterances if labels.get(u.utt_id) in number]
        if not names:
            theirs = sorted({labels[u.utt_id] for u in utterances if u.utt_id in labels})
            raise ValueError(
                f"no utterance has a label that the probe knows ({_some(probe.classes)}; these "
                f"have {_some(theirs)}): analyze speech with the same labels"
            )
        super().__init__(probe, set(names))
        self._wanted = {name: number[labels[name]] for name in self.counted}

    def identity(self) -> List[Any]:
        """See :class:`Reader`."""
        return [*super().identity(), sorted(self._wanted.items())]

    def read(self, name: str, frames: Tensor) -> Tuple[int, int]:
        """See :class:`Reader`; an utterance counts once."""
        said = int(self.probe.head(frames.double().mean(0).float()).argmax())
        return int(said != self._wanted[name]), 1


def reader_of(
    what: str,
    analysis: PathLike,
    data: PathLike,
    utterances: Sequence[Utterance],
    clock: FrameClock,
    alignments: Optional[PathLike] = None,
    fingerprint: Optional[str] = None,
) -> Reader:
    """The reader of a probe of an analysis.

    Args:
        what: phone, word or speaker.
        analysis: directory of ``analyze`` with the measure ``phone_probe``, ….
        data: Kaldi directory or cuts that the utterances are of: transcripts, speakers.
        utterances: the speech.
        clock: of the model's frames.
        alignments: for phone: TextGrids, cuts or supervisions.
        fingerprint: of the unedited model; a probe of another one is refused.

    Raises:
        AnalysisError: as :meth:`StoredProbe.load`.
        DataError: no transcripts, no speakers.
        ValueError: no alignments; as the readers.
    """
    probe = StoredProbe.load(analysis, f"{what}_probe", fingerprint=fingerprint)
    if what != "phone":
        labels = read_labels(data, {"word": "text"}.get(what, what))
        return LabelReader(probe, labels, utterances)
    if alignments is None:
        raise ValueError("the phone probe needs --alignments")
    return PhoneReader(probe, PhoneLabels.read(alignments), clock, utterances)


def reading_capacity(
    reader: Reader, utterances: Sequence[Utterance], batch_seconds: float = 60.0
) -> Capacity:
    """The share that a probe reads rightly from the output of a stack.

    Args:
        reader: of the unedited stack's probe.
        utterances: of which those that count are encoded.
        batch_seconds: speech of a batch.

    Raises:
        ValueError: by the capacity: nothing counts in these utterances.
    """
    chosen = [utterance for utterance in utterances if utterance.utt_id in reader.counted]
    batches = plan_batches(chosen, batch_seconds)

    @torch.no_grad()
    def capacity(stack: Stack) -> float:
        device = next(stack.parameters()).device
        wrong = total = 0
        for batch in batches:
            names, speech, lengths = read_batch(batch)
            hidden, frames = stack.output(speech.to(device), lengths.to(device))
            for errors, count in reader(names, hidden, frames):
                wrong, total = wrong + errors, total + count
        if not total:
            raise ValueError("the probe has nothing to read in these utterances")
        return 1 - wrong / total

    return capacity


def _some(labels: Sequence[str]) -> str:
    return ", ".join(labels[:3]) + (", …" if len(labels) > 3 else "") if labels else "none"
