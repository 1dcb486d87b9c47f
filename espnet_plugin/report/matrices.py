"""Similarity of all pairs of blocks, read from the measures that compare them."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from espnet_plugin.report.analyses import Analysis


class Matrix(NamedTuple):
    """How alike blocks are, by one measure."""

    key: str
    title: str
    values: Sequence[Sequence[Optional[float]]]
    axis: str
    """What rows and columns are."""
    limits: Tuple[float, float]
    structure: Sequence[Tuple[int, int]]
    """First and last of each group of blocks that belong together."""
    caption: str
    mark: str


def matrices(analysis: Analysis) -> List[Matrix]:
    """All that the analysis holds, in the order they are shown."""
    found = []
    attention = analysis.results.get("attention")
    if attention and attention.get("similarity"):
        source = attention["sources"]["similarity"]
        found.append(
            Matrix(
                "maps",
                "Attention maps",
                attention["similarity"],
                "block",
                (0.0, 1.0),
                [(group[0], group[-1]) for group in analysis.groups if len(group) > 1],
                f"{source['source']}. {analysis.scale}. Frames: blocks that use one map.",
                source["mark"],
            )
        )
    return found + _states(analysis)


STATES = {
    "linear_cka": "Linear CKA",
    "cosine": "Cosine",
    "mutual_knn": "Mutual k-NN",
    "linear_cka_biased": "Linear CKA, biased",
}


def _states(analysis: Analysis) -> List[Matrix]:
    similarity = analysis.results.get("similarity")
    if similarity is None:
        return []
    found = []
    for name, title in STATES.items():
        values = similarity["values"].get(name)
        if values is None:
            continue
        source = similarity["sources"][name]
        structure = similarity["structure"].get(name)
        caption = (
            f"{source['source']}. State 0 enters block 0, state n leaves block n − 1. "
            f"{analysis.scale}; samples: {similarity['samples']}."
        )
        if name == "mutual_knn":
            caption += f" k = {similarity['neighbours']}."
        if structure is not None:
            caption += _said(structure)
        low = min([0.0, *(v for row in values for v in row if v is not None)])
        found.append(
            Matrix(
                name,
                title,
                values,
                "state",
                (low, 1.0),
                _parts(structure, len(values)),
                caption,
                source["mark"],
            )
        )
    return found


def _parts(structure: Optional[Dict[str, Any]], states: int) -> List[Tuple[int, int]]:
    if structure is None or structure["parts"] < 2:
        return []
    starts = [*structure["starts"], states]
    return [(first, after - 1) for first, after in zip(starts[:-1], starts[1:], strict=True)]


def _said(structure: Dict[str, Any]) -> str:
    p = f"p = {structure['p_value']:.3g} against matrices of the same decay and drift [I]"
    if structure["parts"] < 2:
        return f" No groups of states stand out ({p})."
    return f" Frames: {structure['parts']} groups of states ({p})."
