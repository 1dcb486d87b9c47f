"""Forced alignment with an ESPnet CTC model: waveforms and texts in, timed units out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from espnet_plugin.compat import require_k2
from espnet_plugin.decode.align.timing import Timing
from espnet_plugin.decode.align.transcript import Transcript, shortest_length
from espnet_plugin.decode.align.units import AlignError, LexiconUnits, TokenUnits
from espnet_plugin.decode.align.viterbi import FramePath, align_batch
from espnet_plugin.decode.posteriors import ctc_posteriors

Item = Tuple[str, float, float, float]
"""Symbol, start and duration in seconds, score in (0, 1]."""


@dataclass(frozen=True)
class Aligned:
    """The alignment of one utterance.

    Attributes:
        spans: (first, last) frames of every token's spike.
        symbols: the tokens.
        scores: their mean posteriors over these frames.
        places: the places of their words; None outside words.
        words: the words.
    """

    spans: List[Tuple[int, int]]
    symbols: List[str]
    scores: List[float]
    places: List[Optional[int]]
    words: List[str]

    def items(
        self, timing: Timing, frame_seconds: float, duration: float, level: str
    ) -> Dict[str, List[Item]]:
        """Timed items: ``{level: tokens, "word": words}``.

        A word lasts from the start of its first token to the end of its last one; its score
        is the mean over the frames of their spikes.
        """
        times = timing.boundaries(self.spans, frame_seconds, duration)
        tokens = [
            (symbol, round(start, 4), round(end - start, 4), round(score, 4))
            for symbol, score, (start, end) in zip(self.symbols, self.scores, times, strict=True)
        ]
        words = []
        for place, word in enumerate(self.words):
            own = [i for i, p in enumerate(self.places) if p == place]
            frames = [self.spans[i][1] - self.spans[i][0] + 1 for i in own]
            score = float(np.average([self.scores[i] for i in own], weights=frames))
            start, end = times[own[0]][0], times[own[-1]][1]
            words.append((word, round(start, 4), round(end - start, 4), round(score, 4)))
        return {level: tokens, "word": words}


class CtcAligner:
    """Align with the CTC head of an ESPnet ASR model.

    Args:
        model: an ``ESPnetASRModel`` in evaluation mode; its device is where everything runs.
        token_list: its tokens, the blank first.
        units: makes transcripts of texts.
        frame_samples: samples per frame. In a batch ESPnet's encoders give a short utterance a
            frame or two of padding; only frames that begin and end within it are used.

    Example:
        >>> aligner = CtcAligner(experiment.model, experiment.token_list, units, 640)
        >>> aligner([waveform], ["THE ROAD"])[0].words
        ['THE', 'ROAD']
    """

    def __init__(
        self,
        model: Any,
        token_list: Sequence[str],
        units: Union[TokenUnits, LexiconUnits],
        frame_samples: int,
    ) -> None:
        require_k2()
        self.model = model
        self.token_list = list(token_list)
        self.units = units
        self.frame_samples = frame_samples

    def __call__(
        self, waveforms: Sequence[np.ndarray], texts: Sequence[str]
    ) -> List[Union[Aligned, AlignError]]:
        """Align a batch.

        Args:
            waveforms: (S,) samples each, at the model's rate.
            texts: what was said.

        Returns:
            Per utterance its alignment, or the reason why it has none.
        """
        results: List[Any] = [None] * len(texts)
        transcripts: Dict[int, Tuple[Transcript, List[str]]] = {}
        for i, text in enumerate(texts):
            try:
                transcripts[i] = self.units(text)
            except AlignError as error:
                results[i] = error
        rows = list(transcripts)
        if not rows:
            return results
        device = next(self.model.parameters()).device
        arrays = [torch.as_tensor(waveforms[i]).to(torch.float32) for i in rows]
        lengths = torch.tensor([len(array) for array in arrays], device=device)
        speech = pad_sequence(arrays, batch_first=True).to(device)
        log_probs, frames = ctc_posteriors(self.model, speech, lengths)
        frames = torch.minimum(frames, lengths.cpu() // self.frame_samples)
        paths = align_batch(log_probs, frames, [transcripts[i][0] for i in rows])
        for row, i in enumerate(rows):
            results[i] = self._result(paths[row], int(frames[row]), *transcripts[i])
        return results

    def _result(
        self, path: Optional[FramePath], frames: int, transcript: Transcript, words: List[str]
    ) -> Union[Aligned, AlignError]:
        if path is None:
            fewest = shortest_length(transcript)
            if frames < fewest:
                return AlignError(f"too short: {frames} frames, its text takes {fewest}")
            return AlignError("a posterior is not a number or no path has a probability above 0")
        arcs = [transcript.arcs[spike.arc] for spike in path.spikes]
        return Aligned(
            [(spike.first, spike.last) for spike in path.spikes],
            [self.token_list[arc.token] for arc in arcs],
            [spike.score for spike in path.spikes],
            [arc.word for arc in arcs],
            words,
        )
