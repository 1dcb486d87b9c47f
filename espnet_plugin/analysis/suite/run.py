"""Run a model over a data set once, for all measures."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Dict, List, Sequence

import torch
from torch import Tensor

from espnet_plugin.analysis.maps.pieces import check_maps
from espnet_plugin.analysis.suite.measure import MAPS, STATES, Measure, Utterances
from espnet_plugin.analysis.suite.subject import Subject
from espnet_plugin.compat import TooShortUttError
from espnet_plugin.stacks.batches import Batch
from espnet_plugin.stacks.hooks import attention_maps, hidden_states


class Pass:
    """One pass over the data: each batch goes through the model once, whoever looks.

    Maps and hidden states are made only if a measure wants them; the maps of a block are freed
    before the next block runs, unless a measure keeps them.

    Args:
        subject: the model, in evaluation mode.
        measures: to be fed.
        rate: samples per second of the recordings.

    Attributes:
        utterances, samples, frames: seen so far, without padding; frames of the encoder.
    """

    def __init__(self, subject: Subject, measures: Sequence[Measure], rate: int) -> None:
        self.subject, self.measures, self.rate = subject, list(measures), rate
        self.utterances = self.samples = self.frames = 0

    @torch.inference_mode()
    def update(self, batch: Batch) -> None:
        """Encode a batch and show it to the measures.

        Args:
            batch: utterance ids, speech (B, N), lengths (B,) in samples.

        Raises:
            ValueError: something cannot be measured, or an utterance is too short for the encoder;
                names the utterances.
        """
        names, speech, samples = batch
        try:
            frames = self._run(Utterances(names, samples, self.rate, speech))
        except (ValueError, TooShortUttError) as error:
            said = str(error.args[0] if error.args else error)
            named = any(said.startswith((f"{name}:", f"{name},")) for name in names)
            raise ValueError(said if named else f"{_list(names)}: {said}") from error
        self.utterances += len(names)
        self.samples += int(samples.sum())
        self.frames += int(frames.sum())

    def _run(self, utterances: Utterances) -> Tensor:
        for measure in self.measures:
            measure.begin(utterances)
        looking = [measure for measure in self.measures if MAPS in measure.wants]
        leaders = set(self.subject.leaders)
        states: List[Tensor] = []

        def look(block: int, maps: Tensor, valid: Tensor) -> None:
            if block in leaders and maps.shape[1]:
                self._check(utterances.names, valid)
                lengths = check_maps(maps, valid)
                for measure in looking:
                    measure.look(block, maps, lengths)

        def keep(number: int, state: Tensor, valid: Tensor) -> None:
            states.append(state)

        with ExitStack() as hooks:
            if looking:
                hooks.enter_context(attention_maps(self.subject.encoder, look))
            if any(STATES in measure.wants for measure in self.measures):
                hooks.enter_context(hidden_states(self.subject.encoder, keep))
            frames = self.subject.run(utterances.speech, utterances.samples)
        self._check(utterances.names, frames)
        for measure in self.measures:
            measure.end(states if STATES in measure.wants else [], frames)
        return frames

    def _check(self, names: Sequence[str], frames: Tensor) -> None:
        short = [name for name, count in zip(names, frames.tolist(), strict=True) if count < 1]
        if short:
            raise ValueError(f"{_list(short)}: too short for one frame of the encoder")

    def merge(self, other: Pass) -> None:
        """Add what another pass has seen of other utterances with the same model."""
        for mine, theirs in zip(self.measures, other.measures, strict=True):
            mine.merge(theirs)
        self.utterances += other.utterances
        self.samples += other.samples
        self.frames += other.frames

    def state_dict(self) -> Dict[str, Any]:
        """Everything that was measured."""
        return {
            "measures": {measure.name: measure.state_dict() for measure in self.measures},
            "utterances": self.utterances,
            "samples": self.samples,
            "frames": self.frames,
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace everything by what :meth:`state_dict` gave."""
        for measure in self.measures:
            measure.load_state_dict(state["measures"][measure.name])
        self.utterances, self.samples = int(state["utterances"]), int(state["samples"])
        self.frames = int(state["frames"])


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
