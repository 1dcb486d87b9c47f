"""What every head does: a table of heads × blocks for each measure, and the categories."""

from __future__ import annotations

from html import escape
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from espnet_plugin.report.analyses import Analysis, scales
from espnet_plugin.report.html.markup import Section, block_label, legend, mark_html, number, tabs


class Shown(NamedTuple):
    """A measure of a head, as it is shown."""

    key: str
    title: str
    mark: str
    unit: str


MEASURES = (
    Shown("globalness", "Globalness G", "P", " nats"),
    Shown("verticality", "Verticality V", "P", " nats"),
    Shown("diagonality", "Diagonality D", "P", ""),
    Shown("cumulative_diagonality", "Cumulative diagonality CAD", "I", ""),
    Shown("maximum_weight", "Maximum weight", "I", ""),
)
CATEGORIES = ("diagonal", "vertical", "global")
CIVIDIS = (
    (0, 34, 78), (18, 53, 112), (59, 73, 108), (87, 93, 109), (112, 113, 115),
    (138, 134, 120), (165, 156, 116), (195, 179, 105), (254, 232, 56),
)  # fmt: skip


def section(analyses: Sequence[Analysis]) -> Optional[Section]:
    """The section; None where no model's attention was measured."""
    shown = [
        (n, one)
        for n, one in enumerate(analyses)
        if any(block["heads"] for block in one.results.get("attention", {}).get("blocks", []))
    ]
    if not shown:
        return None
    sources = [one.results["attention"]["sources"] for _, one in shown]
    keys = [measure for measure in MEASURES if all(measure.key in one for one in sources)]
    panels = [("Category", _categories(shown))]
    for measure in keys:
        values = [v for _, a in shown for row in grid(a, measure.key) for v in row if v is not None]
        limits = (min(values), max(values))
        tables = "".join(_table(n, a, measure, limits) for n, a in shown)
        source = sources[0][measure.key]["source"]
        caption = (
            f"{measure.title} {mark_html(measure.mark)}: from "
            f"{escape(number(limits[0], 3) + measure.unit)} (dark blue) to "
            f"{escape(number(limits[1], 3) + measure.unit)} (yellow). Means over utterances, "
            f"{escape(scales([one for _, one in shown]))}. {escape(source)}"
        )
        panels.append((measure.title, _figure(tables, caption)))
    html = (
        '<p class="lead">Every head of every block. Choose one to see its map below; arrow keys '
        "walk from head to head.</p>" + tabs("heads", panels)
    )
    return Section("heads", "Heads", html)


def grid(analysis: Analysis, key: str) -> List[List[Any]]:
    """head -> block -> value; None where a block has fewer heads."""
    blocks = analysis.results["attention"]["blocks"]
    most = max(len(block["heads"]) for block in blocks)
    return [
        [block["heads"][head][key] if head < len(block["heads"]) else None for block in blocks]
        for head in range(most)
    ]


def leaders(analysis: Analysis) -> Dict[int, int]:
    """Block -> the block that its map comes from."""
    return {block: group[0] for group in analysis.groups for block in group}


def _figure(tables: str, caption: str) -> str:
    return f'<figure><div class="row">{tables}</div><figcaption>{caption}</figcaption></figure>'


def _categories(shown: Sequence[Tuple[int, Analysis]]) -> str:
    tables = ""
    for n, analysis in shown:
        cells = {
            (block, head): (value[0].upper(), f'class="{value}"', value)
            for head, row in enumerate(grid(analysis, "category"))
            for block, value in enumerate(row)
            if value in CATEGORIES
        }
        tables += _cells(n, analysis, "Category", cells)
    keys = legend({c: f"{c[0].upper()} {c}" for c in CATEGORIES})
    source = shown[0][1].results["attention"]["sources"]["category"]["source"]
    caption = (
        f"Category {mark_html('P')}: the measure in whose ranking of all heads a head stands "
        f"highest.{keys}. {escape(scales([one for _, one in shown]))}. {escape(source)}"
    )
    return _figure(tables, caption)


def _table(n: int, analysis: Analysis, measure: Shown, limits: Tuple[float, float]) -> str:
    low, high = limits
    cells = {}
    for head, row in enumerate(grid(analysis, measure.key)):
        for block, value in enumerate(row):
            if value is None:
                continue
            part = (value - low) / (high - low) if high > low else 0.5
            red, green, blue = _cividis(part)
            on = "#fff" if part < 0.5 else "#000"
            style = f'style="--cell:rgb({red},{green},{blue});--on:{on}"'
            text = f"{number(value, 3)}{measure.unit}"
            cells[block, head] = (number(value, 2 if abs(value) < 10 else 3), style, text)
    return _cells(n, analysis, measure.title, cells)


def _cells(
    n: int, analysis: Analysis, title: str, cells: Dict[Tuple[int, int], Tuple[str, str, str]]
) -> str:
    leader = leaders(analysis)
    blocks = [one["block"] for one in analysis.results["attention"]["blocks"]]
    heads = 1 + max(head for _, head in cells)
    top = "".join(f'<th scope="col">{block_label(b, leader.get(b, b))}</th>' for b in blocks)
    rows = ""
    for head in range(heads):
        row = f'<th scope="row">{head}</th>'
        for place, block in enumerate(blocks):
            if (place, head) not in cells:
                row += "<td></td>"
                continue
            text, style, said = cells[place, head]
            label = f"block {block}, head {head}: {said}"
            row += (
                f'<td><button type="button" {style} data-block="{block}" '
                f'data-leader="{leader.get(block, block)}" data-head="{head}" aria-pressed="false" '
                f'aria-label="{escape(label)}" title="{escape(label)}">{escape(text)}</button></td>'
            )
        rows += f"<tr>{row}</tr>"
    return (
        f'<div class="scroll"><table class="heat" data-model="{n}" data-columns="{len(blocks)}">'
        f"<caption>{escape(analysis.name)}: {escape(title.lower())}, head by block</caption>"
        f"<thead><tr><td></td>{top}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cividis(part: float) -> Tuple[int, int, int]:
    place = min(max(part, 0.0), 1.0) * (len(CIVIDIS) - 1)
    at = min(int(place), len(CIVIDIS) - 2)
    low, high = CIVIDIS[at], CIVIDIS[at + 1]
    red, green, blue = (round(a + (b - a) * (place - at)) for a, b in zip(low, high, strict=True))
    return red, green, blue
