"""Praat TextGrids with interval tiers, in the long text format of LibriSpeech's alignments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Union

from espnet_plugin.atomic import atomic_open

_TOKEN = re.compile(r'(class|name|xmin|xmax|text)\s*=\s*("(?:[^"]|"")*"|[-+.\deE]+)')


class Interval(NamedTuple):
    """``text`` from ``start`` to ``end`` (seconds); empty text is silence."""

    start: float
    end: float
    text: str


Tiers = Dict[str, List[Interval]]


def parse_textgrid(text: str) -> Tiers:
    """The interval tiers of a TextGrid by name; numbers as they stand in the text.

    Raises:
        ValueError: no TextGrid, or an interval with a part missing.
    """
    if 'Object class = "TextGrid"' not in text:
        raise ValueError('not a TextGrid in long format (no Object class = "TextGrid")')
    tiers: Tiers = {}
    kind = ""
    current: List[Interval] = []
    in_tier = False
    fields: Dict[str, float] = {}
    for key, value in _TOKEN.findall(text):
        if key == "class":
            kind = value.strip('"')
            in_tier = False
        elif key == "name":
            current = []
            in_tier = kind == "IntervalTier"
            if in_tier:
                tiers[value[1:-1].replace('""', '"')] = current
            fields = {}
        elif not in_tier:
            continue
        elif key == "text":
            if "xmin" not in fields or "xmax" not in fields:
                raise ValueError(f"interval without xmin or xmax before text = {value}")
            label = value[1:-1].replace('""', '"')
            current.append(Interval(fields["xmin"], fields["xmax"], label))
            fields = {}
        else:
            fields[key] = float(value)
    return tiers


def read_textgrid(path: Union[str, Path]) -> Tiers:
    """Read a TextGrid file (UTF-8); raises as :func:`parse_textgrid` and ``open`` do."""
    return parse_textgrid(Path(path).read_text(encoding="utf-8"))


def format_textgrid(tiers: Dict[str, Sequence[Interval]], duration: float) -> str:
    """The text of a TextGrid over 0 to ``duration``; each tier must be without gaps."""
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0.0",
        f"xmax = {duration!r}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, intervals) in enumerate(tiers.items(), 1):
        lines += [
            f"\titem [{number}]:",
            '\t\tclass = "IntervalTier"',
            f"\t\tname = {_quote(name)}",
            "\t\txmin = 0.0",
            f"\t\txmax = {duration!r}",
            f"\t\tintervals: size = {len(intervals)}",
        ]
        for index, interval in enumerate(intervals, 1):
            lines += [
                f"\t\t\tintervals [{index}]:",
                f"\t\t\t\txmin = {float(interval.start)!r}",
                f"\t\t\t\txmax = {float(interval.end)!r}",
                f"\t\t\t\ttext = {_quote(interval.text)}",
            ]
    return "\n".join(lines) + "\n"


def write_textgrid(
    path: Union[str, Path], tiers: Dict[str, Sequence[Interval]], duration: float
) -> None:
    """Write :func:`format_textgrid` to ``path`` (UTF-8), whole or not at all."""
    with atomic_open(path) as stream:
        stream.write(format_textgrid(tiers, duration))


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
