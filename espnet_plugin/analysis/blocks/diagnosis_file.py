"""A diagnosis as plain values, what ``diagnosis.json`` holds; see docs/diagnosis.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

from espnet_plugin.analysis.blocks.block_pattern import PATTERNS, Pattern
from espnet_plugin.analysis.blocks.diagnosis import DECADES, LEAST, TIMES, diagnose
from espnet_plugin.atomic import PathLike

SCHEMA = "espnet_plugin/diagnosis/1"


class Measured(NamedTuple):
    """Patterns, and what they are of."""

    model: str
    family: str
    stack_blocks: int
    """How many blocks the model has, those without a map of their own among them."""
    data: str
    utterances: int
    patterns: Dict[int, Pattern]
    """Of the blocks with a map of their own."""


def read_patterns(analysis: PathLike) -> Measured:
    """What the measure ``patterns`` of ``espnet_plugin.bin.analyze`` found.

    Args:
        analysis: the directory that it wrote.

    Raises:
        ValueError: the measure is not there, or the file is none of its.
    """
    path = Path(analysis) / "patterns.json"
    if not path.is_file():
        raise ValueError(f"{path}: not there; analyze with --measures patterns")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not str(found["schema"]).startswith("espnet_plugin/patterns/"):
            raise ValueError(f"schema {found['schema']!r}")
        patterns = {int(block["block"]): _pattern(block) for block in found["blocks"]}
        model, data = found["model"], found["data"]
        return Measured(
            str(model["directory"]),
            str(model["family"]),
            int(model["blocks"]),
            str(data["directory"]),
            int(found["utterances"]),
            patterns,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: holds no patterns of espnet_plugin.bin.analyze: {error}"
        ) from None


def _pattern(block: Mapping[str, Any]) -> Pattern:
    first, second, third = (float(block["scores"][name]) for name in PATTERNS)
    intervals = tuple((float(a), float(b)) for a, b in (block["intervals_95"][n] for n in PATTERNS))
    return Pattern((first, second, third), intervals, str(block["label"]))


def describe(
    measured: Measured,
    labels: Sequence[str] = (),
    times: float = TIMES,
    least: float = LEAST,
    decades: float = DECADES,
    at_least: int = 0,
) -> Dict[str, Any]:
    """Diagnose, and say what was found.

    Args:
        labels, times, least, decades: see :func:`espnet_plugin.analysis.blocks.diagnosis.diagnose`.
        at_least: so many candidates, the most deviating blocks where fewer are abnormal.

    Raises:
        ValueError: as ``diagnose``.
    """
    found = diagnose(measured.patterns, labels, times=times, least=least, decades=decades)
    candidates: List[int] = found.abnormal
    if len(candidates) < at_least:
        candidates = found.most_deviating(at_least)
    blocks = [
        {
            "block": block,
            "label": pattern.label,
            "scores": dict(zip(PATTERNS, pattern.scores, strict=True)),
            "intervals_95": dict(zip(PATTERNS, pattern.intervals, strict=True)),
            "deviation": found.deviation[block],
        }
        for block, pattern in measured.patterns.items()
    ]
    return {
        "schema": SCHEMA,
        "model": measured.model,
        "family": measured.family,
        "stack_blocks": measured.stack_blocks,
        "data": {"directory": measured.data, "utterances": measured.utterances},
        "rule": {"times": times, "least": least, "decades": decades, "labels": list(labels)},
        "blocks": blocks,
        "flags": [flag._asdict() for flag in found.flags],
        "abnormal": found.abnormal,
        "candidates": candidates,
    }
