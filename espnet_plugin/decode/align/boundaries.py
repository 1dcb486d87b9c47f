"""How far an alignment's boundaries are from true ones."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np

Interval = Tuple[str, float, float]
"""Symbol, start and end in seconds."""

TOLERANCES = (0.02, 0.05, 0.1)
SILENCES = {"", "SIL", "SPN", "SP", "<EPS>", "<SIL>"}
"""Labels (in capitals) that are no units of speech; their boundaries are not counted."""


def intervals(
    items: Mapping[str, Mapping[str, Sequence[Any]]], level: str
) -> Dict[str, List[Interval]]:
    """Utterance -> units of one level, without silences, from items (symbol, start, duration)."""
    return {
        name: [
            (item[0], item[1], item[1] + item[2])
            for item in levels.get(level, ())
            if item[0].upper() not in SILENCES
        ]
        for name, levels in items.items()
    }


def match(found: Sequence[Interval], true: Sequence[Interval]) -> List[Tuple[Interval, Interval]]:
    """Pairs of equal symbols, in order (longest matching blocks of the two sequences)."""
    matcher = SequenceMatcher(None, [f[0] for f in found], [t[0] for t in true], autojunk=False)
    return [
        (found[block.a + i], true[block.b + i])
        for block in matcher.get_matching_blocks()
        for i in range(block.size)
    ]


def differences(
    found: Mapping[str, Sequence[Interval]], true: Mapping[str, Sequence[Interval]]
) -> np.ndarray:
    """(N, 2) seconds by which starts and ends of matching units come too late."""
    pairs = [pair for name in found for pair in match(found[name], true.get(name, ()))]
    return np.array([(f[1] - t[1], f[2] - t[2]) for f, t in pairs]).reshape(-1, 2)


def summary(differences: np.ndarray, units: int) -> Dict[str, Any]:
    """Figures of boundary errors.

    Args:
        differences: what :func:`differences` gives.
        units: the number of true units.

    Returns:
        For ``start``, ``end`` and ``both``: mean, median and 90th percentile of the absolute
        error in seconds, the bias (mean of the signed one), and the share within 20, 50 and
        100 ms; and how many units matched of how many.
    """
    result: Dict[str, Any] = {"matched": len(differences), "units": units}
    if not len(differences):
        return result
    for name, signed in (
        ("start", differences[:, 0]),
        ("end", differences[:, 1]),
        ("both", differences.ravel()),
    ):
        error = np.abs(signed)
        result[name] = {
            "mean": round(float(error.mean()), 5),
            "median": round(float(np.median(error)), 5),
            "p90": round(float(np.percentile(error, 90)), 5),
            "bias": round(float(signed.mean()), 5),
            # 1e-9: times are rounded decimals
            **{f"within_{int(1000 * t)}ms": round(float((error <= t + 1e-9).mean()), 4)
               for t in TOLERANCES},
        }  # fmt: skip
    return result


def table(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table, one line per level and side; times in ms."""
    lines = [
        "| level | boundary | matched | mean | median | 90 % | bias | ≤ 20 ms | ≤ 50 ms "
        "| ≤ 100 ms |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for level, values in summaries.items():
        for side in ("start", "end", "both"):
            if side in values:
                one = values[side]
                times = " | ".join(
                    f"{1000 * one[k]:.1f}" for k in ("mean", "median", "p90", "bias")
                )
                shares = " | ".join(
                    f"{100 * one[f'within_{int(1000 * t)}ms']:.1f} %" for t in TOLERANCES
                )
                count = f"{values['matched']}/{values['units']}"
                lines.append(f"| {level} | {side} | {count} | {times} | {shares} |")
    return "\n".join(lines) + "\n"


def read_reference(path: Any) -> Dict[str, Dict[str, List[Interval]]]:
    """Level -> utterance -> intervals, from a lhotse manifest of cuts or supervisions.

    Times are those of the utterance: 0 is its start.

    Raises:
        ValueError: it is no such manifest, or has no alignment.
    """
    from lhotse import CutSet, load_manifest

    try:
        manifest = load_manifest(path)
        segments = (
            [s for cut in manifest for s in cut.supervisions]
            if isinstance(manifest, CutSet)
            else list(manifest)
        )
        items = {
            segment.id: {
                level: [(item.symbol, item.start - segment.start, item.duration) for item in units]
                for level, units in (segment.alignment or {}).items()
            }
            for segment in segments
        }
    except Exception as error:  # lhotse raises whatever the file provokes
        raise ValueError(f"{path}: no manifest: {' '.join(str(error).split())}") from None
    levels = sorted({level for own in items.values() for level in own})
    if not levels:
        raise ValueError(f"{path}: no alignment in it to compare with")
    return {level: intervals(items, level) for level in levels}
