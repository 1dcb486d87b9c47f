"""From the frames of CTC spikes to start and end times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Sequence, Tuple

import numpy as np


@dataclass(frozen=True)
class Timing:
    """How boundaries are made from spikes.

    A CTC model emits a token in one or few frames somewhere inside it and blanks around them
    (Graves et al. 2006, figure 1), so the path alone does not say where a token ends. Between
    two neighbours, whose spikes end at e and begin at b, the gap b − e is divided: the first
    takes ``split``·(b − e) of it and the second the rest, each at most ``reach``. Where both
    reach, they meet in one boundary; a longer gap leaves a pause between them. The first token
    begins ``reach`` before its spike, the last ends ``reach`` behind it, within the utterance.
    Every time is moved by ``shift``, since a frame's number says nothing about where in the
    encoder's field of view the model waits for its evidence.

    Attributes:
        split: share of a gap that belongs to the token before it, 0 … 1.
        reach: seconds that a token extends beyond its spike at most.
        shift: seconds added to every time.
    """

    split: float = 0.5
    reach: float = 0.06
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.split <= 1:
            raise ValueError(f"split must lie between 0 and 1, not {self.split}")
        if self.reach < 0:
            raise ValueError(f"reach must not be below 0, not {self.reach}")

    def boundaries(
        self, spans: Sequence[Tuple[int, int]], frame_seconds: float, duration: float
    ) -> List[Tuple[float, float]]:
        """Start and end of every token.

        Args:
            spans: (first, last) frames of the spikes, in order.
            frame_seconds: seconds per frame.
            duration: seconds of the utterance; no time is below 0 or above it.
        """
        if not spans:
            return []
        begin = np.array([first for first, _ in spans], dtype=np.float64) * frame_seconds
        end = np.array([last + 1 for _, last in spans], dtype=np.float64) * frame_seconds
        gap = begin[1:] - end[:-1]
        starts = begin - self.reach
        starts[1:] = np.maximum(begin[1:] - (1 - self.split) * gap, starts[1:])
        ends = end + self.reach
        ends[:-1] = np.minimum(end[:-1] + self.split * gap, ends[:-1])
        starts, ends = (np.clip(t + self.shift, 0.0, duration) for t in (starts, ends))
        return list(zip(starts.tolist(), ends.tolist(), strict=True))


def frame_seconds(model: Any, rate: int) -> float:
    """Seconds per frame of an ESPnet model's posteriors, measured on silence of two lengths.

    Args:
        model: an ``ESPnetASRModel`` that takes waveforms.
        rate: samples per second.

    The encoder's frame is a whole number of the frontend's, so the result is exact wherever
    the frontend says its hop, and within half a percent elsewhere.
    """
    import torch

    from espnet_plugin.decode.posteriors import ctc_posteriors

    device = next(model.parameters()).device
    short, long = 2 * rate, 22 * rate
    frames = []
    for samples in (short, long):
        speech = torch.zeros(1, samples, device=device)
        frames.append(int(ctc_posteriors(model, speech, torch.tensor([samples], device=device))[1]))
    step = (long - short) / (frames[1] - frames[0])
    hop = getattr(model.frontend, "hop_length", 1)
    return max(1, round(step / hop)) * hop / rate
