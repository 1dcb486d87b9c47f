"""Boundary rules measured on speech whose true times are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import List, Mapping, Sequence

import numpy as np

from espnet_plugin.decode.align.aligner import Aligned
from espnet_plugin.decode.align.boundaries import Interval, differences, intervals
from espnet_plugin.decode.align.corpus import timed
from espnet_plugin.decode.align.source import Spoken
from espnet_plugin.decode.align.timing import Timing

SPLITS = (0.0, 0.25, 0.5, 0.75, 1.0)
REACHES = (0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3)


def calibrate(
    aligned: Mapping[str, Aligned],
    spoken: Sequence[Spoken],
    frame_seconds: float,
    level: str,
    true: Mapping[str, Sequence[Interval]],
    token_level: str = "token",
) -> Timing:
    """The boundary rule of the least mean absolute error.

    ``split`` and ``reach`` come from a grid; ``shift`` is minus the median of the signed
    errors, which is what makes the mean absolute error least.

    Args:
        aligned: the alignments of a development set.
        spoken: its utterances.
        frame_seconds: seconds per frame.
        level: which boundaries to compare, ``word`` or ``token_level``.
        true: utterance -> true intervals of that level.
        token_level: the name of the tokens' level.

    Raises:
        ValueError: no unit of ``true`` is in the alignments.
    """

    def errors(timing: Timing) -> np.ndarray:
        items = timed(aligned, spoken, timing, frame_seconds, token_level)
        return differences(intervals(items, level), true)

    candidates: List[Timing] = []
    means: List[float] = []
    for split, reach in product(SPLITS, REACHES):
        timing = Timing(split, reach)
        found = errors(timing)
        if not len(found):
            raise ValueError(f"no {level} of the reference is in the alignments")
        timing = replace(timing, shift=round(-float(np.median(found)), 4))
        candidates.append(timing)
        means.append(float(np.abs(errors(timing)).mean()))
    return candidates[int(np.argmin(means))]
