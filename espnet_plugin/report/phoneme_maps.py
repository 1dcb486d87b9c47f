"""What heads do with phonemes, read from the measures that align maps with phones."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from espnet_plugin.analysis.phonemes.phone_kinds import KINDS, MANNERS
from espnet_plugin.data.phones import SILENCE
from espnet_plugin.report.analyses import Analysis

NAMES = {
    "same": "the same phone",
    "similar": "a voicing pair",
    "class": "one manner",
    "other": "other phones",
}
"""Kinds of pairs of phones, to show."""


class HeadMaps(NamedTuple):
    """A map over phones for every head."""

    key: str
    title: str
    symbols: List[str]
    """Vowels, consonants by manner, silence."""
    places: List[Tuple[int, int]]
    """Block and head of each map."""
    maps: np.ndarray
    """(N, C, C) float64, rows: the query's phone; NaN where there is none."""
    neutral: float
    """The value of uniform attention."""
    unit: str
    mark: str
    source: str


class Value(NamedTuple):
    """A figure of one head."""

    block: int
    head: int
    value: Optional[float]
    interval: Optional[Tuple[float, float]]


def head_maps(analysis: Analysis) -> List[HeadMaps]:
    """Relation maps and phoneme attention, as far as they were measured."""
    found = []
    if "relation" in analysis.results:
        title, unit = "Phoneme relation", "relative to uniform attention; 0: as uniform"
        found.append(_head_maps(analysis, "relation", "relation", title, 0.0, unit))
    if "phoneme_attention" in analysis.results:
        title, unit = "Phoneme attention", "uniform attention = 1"
        found.append(_head_maps(analysis, "phoneme_attention", "relationship", title, 1.0, unit))
    return found


def _head_maps(
    analysis: Analysis, measure: str, array: str, title: str, neutral: float, unit: str
) -> HeadMaps:
    arrays = analysis.arrays(measure)
    symbols = [str(one) for one in arrays["symbols"]]
    order = phone_order(symbols)
    source = analysis.results[measure]["sources"][array]
    return HeadMaps(
        measure,
        title,
        [symbols[n] for n in order],
        list(zip(arrays["block"].tolist(), arrays["head"].tolist(), strict=True)),
        arrays[array][:, order][:, :, order],
        neutral,
        unit,
        source["mark"],
        source["source"],
    )


def concentrations(analysis: Analysis) -> Optional[Tuple[List[str], List[str], np.ndarray]]:
    """Heads ("block.head"), phones and concentration (N, C) of relation maps."""
    if "relation" not in analysis.results:
        return None
    arrays = analysis.arrays("relation")
    symbols = [str(one) for one in arrays["symbols"]]
    order = phone_order(symbols)
    places = zip(arrays["block"].tolist(), arrays["head"].tolist(), strict=True)
    names = [f"{block}.{head}" for block, head in places]
    return names, [symbols[n] for n in order], arrays["concentration"][:, order]


def phone_order(symbols: Sequence[str]) -> List[int]:
    """Places of the symbols in the order vowels, consonants by manner, silence, the rest."""
    manners = list(MANNERS)
    manner = {phone: n for n, name in enumerate(manners) for phone in MANNERS[name]}
    manner[SILENCE] = len(manners)
    return sorted(
        range(len(symbols)),
        key=lambda n: (manner.get(symbols[n].rstrip("012"), len(manners) + 1), symbols[n]),
    )


def values(analysis: Analysis, measure: str, key: str) -> List[Value]:
    """A figure of every head that a measure of phonemes holds, with its interval if it has one."""
    found = []
    for block in analysis.results[measure]["blocks"]:
        for head in block["heads"]:
            value, interval = _value(head[key])
            found.append(Value(block["block"], head["head"], value, interval))
    return found


def _value(stored: Any) -> Tuple[Optional[float], Optional[Tuple[float, float]]]:
    if not isinstance(stored, dict):
        return stored, None
    interval = stored.get("interval_95")
    return stored["mean"], None if interval is None else (interval[0], interval[1])


def kinds(analysis: Analysis) -> Dict[str, List[Value]]:
    """Kind of pair -> attention to it by head; {} where it was not measured."""
    if "phoneme_attention" not in analysis.results:
        return {}
    return {kind: values(analysis, "phoneme_attention", kind) for kind in KINDS}


class Segmentation(NamedTuple):
    """How well phone boundaries are found from the rows of each head's map."""

    heads: List[Value]
    """R-values."""
    baseline: Optional[float]
    """The R-value of MFCC every 10 ms in place of a map's rows."""
    caption: str
    mark: str


def segmentation(analysis: Analysis) -> Optional[Segmentation]:
    """None where it was not measured."""
    stored = analysis.results.get("segmentation")
    if stored is None:
        return None
    found = [Value(one["block"], one["head"], one["r_value"], None) for one in stored["heads"]]
    source = stored["sources"]["segmentation"]
    baselines = stored.get("baselines") or {}
    said = [
        f"{title} {baselines[name]['r_value']:.3f}"
        for name, title in (
            ("mfcc_10ms", "MFCC every 10 ms (dotted)"),
            ("mfcc_model_frames", "MFCC at the model's frames"),
        )
        if name in baselines
    ]
    best, more = stored.get("best"), ""
    if best:
        low, high = best["interval_95"]
        more = (
            f" Best: block {best['block']}, head {best['head']}, {best['r_value']:.3f} "
            f"({low:.3f} to {high:.3f}, 95 %)."
        )
    caption = (
        f"R-value with a tolerance of {1000 * stored['tolerance_seconds']:g} ms; parameters chosen "
        f"on {stored['utterances']['choice']} utterances, scored on "
        f"{stored['utterances']['scored']} others. {'; '.join(said)}.{more} {source['source']}. "
        f"{analysis.scale}."
    )
    first = baselines.get("mfcc_10ms")
    return Segmentation(found, None if first is None else first["r_value"], caption, source["mark"])
