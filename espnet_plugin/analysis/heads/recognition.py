"""What a model recognises of some speech while its encoder is edited."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from espnet_plugin.analysis.probes.capacity import Capacity
from espnet_plugin.analysis.probes.readers import Reader
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


class Recognition:
    """The errors of a model on some speech.

    What enters block 0 is kept (4 bytes x frames x width), so that it is made once for all edits.

    Args:
        subject: the encoder of an ESPnet experiment.
        utterances: the speech.
        texts: transcripts by utterance.
        decoders: name -> a decoder of the same model: of method ``greedy``, ``ctc`` or ``hlg``.
        readers: name -> reads phones, words or speakers from the last hidden state.
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
        readers: Optional[Mapping[str, Reader]] = None,
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
        self.readers = dict(readers or {})
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
            of the model's tokens against those of the transcript; and by its name what each
            reader does not read rightly.
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
            for key, reader in self.readers.items():
                wrong = reader(names, hidden, lengths)
                found.setdefault(key, {}).update(zip(names, wrong, strict=True))
        return {key: [values[name] for name in self.names] for key, values in found.items()}

    def capacity(self, measure: str) -> Capacity:
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
