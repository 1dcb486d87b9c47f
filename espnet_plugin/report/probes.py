"""What linear probes read from each hidden state, from the measures that fit them."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple

from espnet_plugin.report.analyses import Analysis


class Probe(NamedTuple):
    """Accuracy by state."""

    kind: str
    title: str
    unit: str
    states: Sequence[int]
    accuracy: Sequence[Optional[float]]
    intervals: Sequence[Optional[Tuple[float, float]]]
    caption: str
    mark: str


def probes(analysis: Analysis) -> List[Probe]:
    """All that the analysis holds."""
    return []
