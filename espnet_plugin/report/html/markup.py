"""Pieces of the page: text is escaped, figures are numbered and say where they come from."""

from __future__ import annotations

from html import escape
from typing import Any, List, Mapping, NamedTuple, Sequence, Tuple

from espnet_plugin.report.drawings import Chart, Drawing, Panels

MARKS = {
    "P": "read in the paper or its authors' code",
    "A": "stated in an abstract",
    "I": "our inference",
}


class Section(NamedTuple):
    """A part of the page, with an entry in its navigation."""

    id: str
    title: str
    html: str


class Figures:
    """The charts of a page, and the markup that holds them."""

    def __init__(self) -> None:
        self.charts: List[Chart] = []

    def add(self, name: str, drawing: Drawing, title: str, caption: str, mark: str) -> str:
        """Markup of a figure.

        Args:
            name: of its files, different from those of the others.
            drawing: what it shows.
            title, caption: plain text; the caption says source, unit and scale.
            mark: P, A or I, or nothing for a plain fact.
        """
        number = len(self.charts)
        self.charts.append(Chart(name, drawing, title, caption, mark))
        return (
            f"<figure><h3>{escape(title)} {mark_html(mark)}</h3>"
            f'<div class="scroll"><div class="plot" id="figure-{name}" data-figure="{number}" '
            f'role="img" style="height:{drawing.height}px;min-width:{_least_width(drawing)}px" '
            f'aria-label="{escape(title)}"></div></div>'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )


def _least_width(drawing: Drawing) -> int:
    """Pixels below which a drawing cannot be read; narrower screens scroll it."""
    if isinstance(drawing, Panels):
        return 165 * len(drawing.panels)
    return 260 if drawing.square else 560


def legend(names: Mapping[str, str]) -> str:
    """Swatches of classes of the style sheet with what they stand for, none cut by a line's end."""
    return " ".join(
        f'<span class="legend"><span class="key {kind}"></span>{escape(name)}</span>'
        for kind, name in names.items()
    )


def mark_html(mark: str) -> str:
    """A mark as a badge that says what it means."""
    return f'<span class="mark" title="{escape(MARKS[mark])}">{mark}</span>' if mark else ""


def tabs(name: str, panels: Sequence[Tuple[str, str]]) -> str:
    """Panels (title, markup) of which one is shown; in print all are."""
    if len(panels) == 1:
        return panels[0][1]
    heads, bodies = [], []
    for n, (title, body) in enumerate(panels):
        heads.append(
            f'<button type="button" role="tab" id="{name}-tab-{n}" aria-controls="{name}-{n}" '
            f'aria-selected="{"true" if n == 0 else "false"}">{escape(title)}</button>'
        )
        bodies.append(
            f'<div class="panel" role="tabpanel" id="{name}-{n}" aria-labelledby="{name}-tab-{n}"'
            f"{'' if n == 0 else ' hidden'}>{body}</div>"
        )
    return f'<div class="tabs" role="tablist">{"".join(heads)}</div>{"".join(bodies)}'


def table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]], text: Sequence[int] = ()
) -> str:
    """A table; the first cell of a row is its heading, ``text`` columns are set to the left."""
    cells = "".join(
        f'<th scope="col"{" class=text" if n in text else ""}>{escape(one)}</th>'
        for n, one in enumerate(head)
    )
    lines = []
    for row in rows:
        line = f'<th scope="row">{escape(str(row[0]))}</th>'
        for n, one in enumerate(row[1:], 1):
            line += f"<td{' class=text' if n in text else ''}>{escape(number(one))}</td>"
        lines.append(f"<tr>{line}</tr>")
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr>{cells}</tr>'
        f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def number(value: Any, digits: int = 4) -> str:
    """A figure to read: four significant digits; a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}g}".replace("-", "−")
    return str(value)


def block_label(block: int, leader: int) -> str:
    """A block's number, and whose map it uses."""
    return str(block) if block == leader else f"{block} = {leader}"
