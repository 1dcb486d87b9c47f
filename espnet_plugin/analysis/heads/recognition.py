"""What a model recognises of some speech while its encoder is edited."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from espnet_plugin.analysis.phonemes.frames import FrameClock
from espnet_plugin.analysis.phonemes.labels import PhoneLabels
from espnet_plugin.analysis.probes.probe_capacity import StoredProbe, frame_hits
from espnet_plugin.analysis.suite.subject import Subject
from espnet_plugin.analysis.sums.resample import rate
from espnet_plugin.decode.decoder import CtcDecoder
from espnet_plugin.decode.posteriors import encode_speech
from espnet_plugin.progress import progress
from espnet_plugin.score.counts import align, count_errors
from espnet_plugin.stacks.asr import check_output
from espnet_plugin.stacks.batches import Utterance, plan_batches, read_batch
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.state import State, zero_padding

Errors = Dict[str, List[Tuple[int, int]]]
"""Measure -> (errors, tokens) of each utterance, in order of utterance id."""


class PhoneReader:
    """Reads the phones of frames with a linear probe that stays as it was fitted.

    Args:
        probe: of the last hidden state, of ``analyze``'s measure ``phone_probe``.
        labels: alignments, with the classes that the probe was fitted with.
        clock: of the frames.
        utterances: the speech; those that the probe was not fitted on count, where any of them
            are, of those with an alignment.

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
            raise ValueError(f"no utterance has an alignment in {labels.source}")
        self.probe, self.labels, self.clock = probe, labels, clock
        self.counted = there & probe.held_out or there
        self.rate = utterances[0].rate
        self._symbols = torch.tensor([labels.symbols.index(name) for name in probe.classes])

    def __call__(
        self, names: Sequence[str], hidden: Tensor, lengths: Tensor
    ) -> List[Tuple[int, int]]:
        """Frames read wrongly, and frames with a phone, of each utterance of a batch; none of
        utterances that do not count."""
        wanted = [
            self.labels.frames(name, self.clock, frames, self.rate)
            if name in self.counted
            else torch.full((frames,), -1)
            for name, frames in zip(names, lengths.tolist(), strict=True)
        ]
        head = self.probe.head.to(hidden.device)
        hits = frame_hits(head, self._symbols, hidden, lengths, wanted)
        return [(total - right, total) for right, total in hits]


class Recognition:
    """The errors of a model on some speech.

    What enters block 0 is kept (4 bytes x frames x width), so that it is made once for all edits.

    Args:
        subject: the encoder of an ESPnet experiment.
        utterances: the speech.
        texts: transcripts by utterance.
        decoders: name -> a decoder of the same model: of method ``greedy``, ``ctc`` or ``hlg``.
        phones: reads phones from the last hidden state.
        batch_seconds, batch_size: most speech and utterances of a batch. Padding reaches the ends
            of utterances through the convolutions of ESPnet's Conformers, those of edited models
            more than those of the models that were trained with it; alone there is none.

    Attributes:
        names: utterances in the order of what is counted.

    Raises:
        ValueError: no experiment; an utterance without a transcript.
        StackError: the CTC layer sees something else than the output of the last block.
        DataError: a recording that cannot be read.
    """

    @torch.no_grad()
    def __init__(
        self,
        subject: Subject,
        utterances: Sequence[Utterance],
        texts: Mapping[str, str],
        decoders: Mapping[str, CtcDecoder],
        phones: Optional[PhoneReader] = None,
        batch_seconds: float = 60.0,
        batch_size: Optional[int] = 1,
    ) -> None:
        if subject.experiment is None:
            raise ValueError(f"{subject.path}: recognises nothing; name an ESPnet experiment")
        self.names = sorted(utterance.utt_id for utterance in utterances)
        without = [name for name in self.names if name not in texts]
        if without:
            raise ValueError(f"{without[0]}: has no transcript")
        if subject.stack is not None:
            check_output(subject.experiment)
        self.subject, self.texts, self.decoders = subject, texts, dict(decoders)
        self.phones = phones
        self._batches: List[Tuple[List[str], Any]] = []
        planned = plan_batches(list(utterances), batch_seconds, batch_size)
        for batch in progress(planned, "read (batches)"):
            names, speech, lengths = read_batch(batch)
            given: Any = (speech.to(subject.device), lengths.to(subject.device))
            if subject.stack is not None:
                given = subject.stack.embed(*given)
            self._batches.append((names, given))

    @torch.no_grad()
    def __call__(self, edited: Optional[nn.Module] = None) -> Errors:
        """Count the errors.

        Args:
            edited: what :func:`espnet_plugin.surgery.apply.apply_plan` made of the subject's stack;
                None: the subject's encoder as it is now, maps that are being edited among it.

        Returns:
            For each decoder its word errors, by its name; ``token`` of a greedy one: the errors
            of the model's tokens against those of the transcript; and of a reader of phones
            ``phone``: the frames whose phone it does not read rightly.
        """
        found: Dict[str, Dict[str, Tuple[int, int]]] = {}
        for names, hidden, log_probs, lengths in self._posteriors(edited):
            for key, decoder in self.decoders.items():
                hypotheses, _ = decoder.search(log_probs, lengths, names)
                for name, hypothesis in zip(names, hypotheses, strict=True):
                    reference, text = self.texts[name], hypothesis.text or ""
                    found.setdefault(key, {})[name] = _count(reference.split(), text.split())
                    if decoder.method == "greedy":
                        wanted = decoder.text.tokenizer.text2tokens(reference)
                        found.setdefault("token", {})[name] = _count(wanted, hypothesis.tokens)
            if self.phones is not None:
                wrong = self.phones(names, hidden, lengths)
                found.setdefault("phone", {}).update(zip(names, wrong, strict=True))
        return {key: [values[name] for name in self.names] for key, values in found.items()}

    def capacity(self, measure: str) -> Any:
        """1 - error rate, for :mod:`espnet_plugin.analysis.probes.capacity`."""
        return lambda stack: 1.0 - rate(self(stack)[measure]) / 100.0

    def _posteriors(
        self, edited: Optional[nn.Module]
    ) -> Iterator[Tuple[List[str], Tensor, Tensor, Tensor]]:
        assert self.subject.experiment is not None
        model = self.subject.experiment.model
        stack = edited if isinstance(edited, Stack) else self.subject.stack
        for names, given in self._batches:
            if stack is None:
                encoded = encode_speech(model, *given)
                yield names, encoded.hidden, encoded.log_probs, encoded.lengths
                continue
            state: State = replace(given)
            for place in range(len(stack.blocks)):
                state = stack.step(place, state)
            x = zero_padding(stack.finish(state.x), state.mask)
            yield names, x, model.ctc.log_softmax(x).float(), state.lengths.cpu()


def _count(reference: Sequence[str], hypothesis: Sequence[str]) -> Tuple[int, int]:
    counts = count_errors(align(reference, hypothesis))
    return counts.errors, counts.tokens
