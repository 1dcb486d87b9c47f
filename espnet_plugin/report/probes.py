"""What linear probes read from each hidden state, from the measures that fit them."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple

from espnet_plugin.report.analyses import Analysis

KINDS = {"phone_probe": "Phone", "word_probe": "Word", "speaker_probe": "Speaker"}


class Probe(NamedTuple):
    """Accuracy by state."""

    kind: str
    title: str
    states: Sequence[int]
    accuracy: Sequence[Optional[float]]
    intervals: Sequence[Optional[Tuple[float, float]]]
    chance: float
    caption: str
    mark: str


def probes(analysis: Analysis) -> List[Probe]:
    """All that the analysis holds; those that could not be fitted are left out."""
    found = []
    for kind, title in KINDS.items():
        stored = analysis.results.get(kind)
        if stored is None or not stored["states"]:
            continue
        source, states = stored["sources"]["accuracy"], stored["states"]
        samples = stored["samples_are"]
        caption = (
            f"Share of {samples} that a {source['source']} gets right on others than it was fitted "
            f"on (parts by {stored['split_by']}), with 95 % intervals over utterances. Dotted: the "
            f"most frequent class. {stored['tested_samples']} {samples}, "
            f"{len(stored['classes'])} classes. {analysis.scale}."
        )
        found.append(
            Probe(
                kind,
                f"{title} read from each state",
                [one["state"] for one in states],
                [one["accuracy"] for one in states],
                [(one["low"], one["high"]) for one in states],
                stored["chance"],
                caption,
                source["mark"],
            )
        )
    return found
