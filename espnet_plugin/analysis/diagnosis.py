"""Blocks whose attention is abnormal among their neighbours.

After Chen, Asgari (2021, arXiv 2104.02851); their rule is not published, so this one is ours [I]:
a block is abnormal that breaks the trend over depth of one of its pattern's scores by a robust
margin, or carries a label that is given as abnormal.
"""

from __future__ import annotations

from typing import Collection, Dict, List, Mapping, NamedTuple

import numpy as np

from espnet_plugin.analysis.block_pattern import PATTERNS, Pattern


class Flag(NamedTuple):
    """Why a block is abnormal."""

    block: int
    rule: str
    """``trend:<score>`` or ``label``."""
    figures: str
    """What the rule saw, to be read."""


class Diagnosis(NamedTuple):
    """What :func:`diagnose` finds."""

    flags: List[Flag]
    deviation: Dict[int, float]
    """Of each block: the largest distance of a score from its trend, in multiples of the margin;
    above 1 it is flagged."""

    @property
    def abnormal(self) -> List[int]:
        """The flagged blocks, each once."""
        return sorted({flag.block for flag in self.flags})

    def most_deviating(self, count: int) -> List[int]:
        """So many blocks, abnormal or not, in order of number: a choice for experiments."""
        ranked = sorted(self.deviation, key=lambda block: (-self.deviation[block], block))
        return sorted(ranked[:count])


def diagnose(
    patterns: Mapping[int, Pattern],
    labels: Collection[str] = (),
    width: int = 5,
    times: float = 5.0,
    least: float = 0.4,
) -> Diagnosis:
    """Find abnormal blocks.

    Args:
        patterns: of the blocks with a map of their own, by number.
        labels: patterns that are abnormal whatever the neighbours do.
        width: blocks of the running median that is the trend, the block itself in the middle.
        times: the margin is so many robust standard deviations (1.4826 times the median absolute
            deviation) of all blocks' distances from the trend,
        least: and not below this: the scores are on a scale of 0 to 1.

    Raises:
        ValueError: an unknown label, or fewer than three blocks.
    """
    unknown = sorted(set(labels) - {*PATTERNS, "mixed"})
    if unknown:
        raise ValueError(f"unknown label {unknown[0]!r} (one of {', '.join(PATTERNS)}, mixed)")
    if len(patterns) < 3:
        raise ValueError(f"{len(patterns)} blocks with maps are too few to see a trend; 3 are not")
    blocks = sorted(patterns)
    scores = np.array([patterns[block].scores for block in blocks])
    trend = running_median(scores, width)
    distance = scores - trend
    spread = 1.4826 * np.median(np.abs(distance), axis=0)
    margin = np.maximum(times * spread, least)
    flags = []
    for n, block in enumerate(blocks):
        for kind, name in enumerate(PATTERNS):
            if abs(distance[n, kind]) > margin[kind]:
                figures = (
                    f"{name} {scores[n, kind]:.3f}, its neighbours' median {trend[n, kind]:.3f}, "
                    f"margin {margin[kind]:.3f}"
                )
                flags.append(Flag(block, f"trend:{name}", figures))
        if patterns[block].label in labels:
            found = ", ".join(f"{p} {v:.3f}" for p, v in zip(PATTERNS, scores[n], strict=True))
            flags.append(Flag(block, "label", f"{patterns[block].label}: {found}"))
    worst = np.max(np.abs(distance) / margin, axis=1)
    return Diagnosis(flags, {b: float(w) for b, w in zip(blocks, worst, strict=True)})


def running_median(values: np.ndarray, width: int) -> np.ndarray:
    """The median over ``width`` rows around each of (L, K); at the ends over those that exist.

    Raises:
        ValueError: ``width`` is even or below 3.
    """
    if width < 3 or width % 2 == 0:
        raise ValueError(f"width must be odd and at least 3, not {width}")
    half = width // 2
    rows = [np.median(values[max(0, n - half) : n + half + 1], axis=0) for n in range(len(values))]
    return np.stack(rows)
