"""Blocks whose attention is abnormal among their neighbours.

After Chen, Asgari (2021, arXiv 2104.02851); their rule is not published, so this one is ours [I].
A block is abnormal that breaks the trend over depth of one of its pattern's scores by a robust
margin, that is much nearer to a pure pattern than its neighbours, or that carries a label which is
given as abnormal. The margins were set on models that the figures in docs/diagnosis.md are not of.
"""

from __future__ import annotations

from typing import Collection, Dict, List, Mapping, NamedTuple, Tuple

import numpy as np

from espnet_plugin.analysis.blocks.block_pattern import PATTERNS, Pattern

TIMES, LEAST, DECADES = 2.0, 0.6, 1.0
"""The margins of :func:`diagnose`."""


class Flag(NamedTuple):
    """Why a block is abnormal."""

    block: int
    rule: str
    """``trend:<score>``, ``pure:<score>`` or ``label``."""
    figures: str
    """What the rule saw, to be read."""


class Diagnosis(NamedTuple):
    """What :func:`diagnose` finds."""

    flags: List[Flag]
    deviation: Dict[int, float]
    """Of each block: the largest distance from a trend, in multiples of the margin; above 1 it is
    flagged."""

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
    times: float = TIMES,
    least: float = LEAST,
    decades: float = DECADES,
) -> Diagnosis:
    """Find abnormal blocks.

    Args:
        patterns: of the blocks with a map of their own, by number.
        labels: patterns that are abnormal whatever the neighbours do.
        width: blocks of the running median that is the trend; see :func:`running_median`.
        times: the margin is so many robust standard deviations (1.4826 times the median absolute
            deviation) of all blocks' distances from the trend,
        least: and not below this: the scores are on a scale of 0 to 1.
        decades: the same for how near a block is to a pure pattern, -log10(1 - score): this is
            the least margin, and only a block that is nearer than the trend is abnormal. Scores
            above 0.9999 count as that.

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
    pure = -np.log10(np.maximum(1 - scores, 1e-4))
    trend, distance, margin = _breaks(scores, width, times, least)
    pure_trend, nearer, pure_margin = _breaks(pure, width, times, decades)
    flags = []
    for n, block in enumerate(blocks):
        for kind, name in enumerate(PATTERNS):
            if abs(distance[n, kind]) > margin[kind]:
                figures = (
                    f"{name} {scores[n, kind]:.3f}, its neighbours' median {trend[n, kind]:.3f}, "
                    f"margin {margin[kind]:.3f}"
                )
                flags.append(Flag(block, f"trend:{name}", figures))
            if nearer[n, kind] > pure_margin[kind]:
                figures = (
                    f"1 - {name} {10 ** -pure[n, kind]:.4f}, its neighbours' median "
                    f"{10 ** -pure_trend[n, kind]:.4f}: {10 ** nearer[n, kind]:.0f} times as near, "
                    f"margin {10 ** pure_margin[kind]:.0f} times"
                )
                flags.append(Flag(block, f"pure:{name}", figures))
        if patterns[block].label in labels:
            found = ", ".join(f"{p} {v:.3f}" for p, v in zip(PATTERNS, scores[n], strict=True))
            flags.append(Flag(block, "label", f"{patterns[block].label}: {found}"))
    worst = np.maximum(np.abs(distance) / margin, nearer / pure_margin).max(axis=1)
    return Diagnosis(flags, {b: float(w) for b, w in zip(blocks, worst, strict=True)})


def running_median(values: np.ndarray, width: int) -> np.ndarray:
    """The median over the ``width`` rows around each of (L, K), or all where there are no more.

    At the ends the rows are those nearest to the end, so that no median is one of fewer rows, of
    which few abnormal ones would make most.

    Raises:
        ValueError: ``width`` is even or below 3.
    """
    if width < 3 or width % 2 == 0:
        raise ValueError(f"width must be odd and at least 3, not {width}")
    count = len(values)
    width = min(width, count)
    starts = [min(max(0, n - width // 2), count - width) for n in range(count)]
    return np.stack([np.median(values[start : start + width], axis=0) for start in starts])


def _breaks(
    values: np.ndarray, width: int, times: float, least: float
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of (L, K): the trend, the distances from it, and the margin (K,)."""
    trend = running_median(values, width)
    distance = values - trend
    spread = 1.4826 * np.median(np.abs(distance), axis=0)
    return trend, distance, np.maximum(times * spread, least)
