"""Descriptions of figures for plotly, as plain dictionaries; colours by name."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross", "hexagon")

Interval = Optional[Tuple[float, float]]


class Line(NamedTuple):
    """A series over x; values that are None are gaps."""

    name: str
    x: Sequence[Any]
    y: Sequence[Optional[float]]
    intervals: Optional[Sequence[Interval]] = None
    colour: int = 0


def lines(
    panels: Sequence[Tuple[str, Sequence[Line]]],
    x_title: str,
    y_title: str,
    height: int = 330,
    y_range: Optional[Tuple[float, float]] = None,
    x_whole: bool = True,
) -> Dict[str, Any]:
    """Panels side by side, each a title and lines; one colour, dash and symbol per name."""
    data: List[Dict[str, Any]] = []
    layout: Dict[str, Any] = {"height": height, "annotations": []}
    gap = 0.06
    width = (1 - gap * (len(panels) - 1)) / len(panels)
    named = set()
    for n, (title, series) in enumerate(panels):
        axis = "" if n == 0 else str(n + 1)
        left = n * (width + gap)
        layout[f"xaxis{axis}"] = {
            "domain": [left, min(1.0, left + width)],
            "anchor": f"y{axis}",
            "title": {"text": x_title},
            **({"dtick": 1} if x_whole and _fits(series) else {}),
        }
        layout[f"yaxis{axis}"] = {"anchor": f"x{axis}", "zeroline": False}
        if y_range is not None:
            layout[f"yaxis{axis}"]["range"] = list(y_range)
        if n == 0:
            layout["yaxis"]["title"] = {"text": y_title}
        elif y_range is not None:
            layout[f"yaxis{axis}"]["showticklabels"] = False
        if title:
            layout["annotations"].append(
                {
                    "text": title,
                    "x": left + width / 2,
                    "y": 1.0,
                    "xref": "paper",
                    "yref": "paper",
                    "yanchor": "bottom",
                    "showarrow": False,
                }
            )
        for line in series:
            data.append(_trace(line, axis, line.name not in named))
            named.add(line.name)
    layout["showlegend"] = len(named) > 1
    return {"data": data, "layout": layout}


def _fits(series: Sequence[Line]) -> bool:
    return all(len(line.x) <= 26 for line in series)


def _trace(line: Line, axis: str, first: bool) -> Dict[str, Any]:
    style = line.colour % len(SYMBOLS)
    trace: Dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": line.name,
        "legendgroup": line.name,
        "showlegend": first,
        "x": list(line.x),
        "y": [None if y is None else round(y, 6) for y in line.y],
        "xaxis": f"x{axis}",
        "yaxis": f"y{axis}",
        "line": {"color": f"@{style}", "dash": DASHES[style], "width": 2},
        "marker": {"symbol": SYMBOLS[style], "size": 7, "color": f"@{style}"},
    }
    if line.intervals is not None:
        pairs = list(zip(line.y, line.intervals, strict=True))
        there = [y is not None and i is not None for y, i in pairs]
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [i[1] - y if ok else 0 for (y, i), ok in zip(pairs, there, strict=True)],  # type: ignore[index,operator]
            "arrayminus": [y - i[0] if ok else 0 for (y, i), ok in zip(pairs, there, strict=True)],  # type: ignore[index,operator]
            "thickness": 1.4,
            "width": 4,
            "color": f"@{style}",
        }
    return trace


def heatmap(
    values: Sequence[Sequence[Optional[float]]],
    x: Sequence[Any],
    y: Sequence[Any],
    x_title: str,
    y_title: str,
    limits: Optional[Tuple[float, float]] = None,
    diverging: bool = False,
    height: int = 380,
    frames: Sequence[Tuple[int, int]] = (),
    written: bool = False,
) -> Dict[str, Any]:
    """A matrix; the first row is on top.

    Args:
        values: rows of y, columns of x.
        limits: of the colours; those of the values otherwise.
        diverging: colours with a middle at 0.
        frames: (first, last) indices along the diagonal that a frame is drawn around.
        written: write the numbers into the cells.
    """
    rounded = [[None if v is None else float(f"{v:.4g}") for v in row] for row in values]
    trace: Dict[str, Any] = {
        "type": "heatmap",
        "z": rounded,
        "x": list(x),
        "y": list(y),
        "colorscale": "@diverging" if diverging else "@sequential",
        "colorbar": {"thickness": 12, "outlinewidth": 0, "len": 0.9},
        "hovertemplate": f"{y_title} %{{y}}, {x_title} %{{x}}: %{{z}}<extra></extra>",
        "xgap": 1,
        "ygap": 1,
    }
    if limits is not None:
        trace["zmin"], trace["zmax"] = limits
    if diverging:
        trace["zmid"] = 0
    if written:
        trace["texttemplate"] = "%{z:.2f}"
        trace["textfont"] = {"size": 10}
    shapes = [
        {
            "type": "rect",
            "x0": first - 0.5,
            "x1": last + 0.5,
            "y0": first - 0.5,
            "y1": last + 0.5,
            "line": {"color": "#ff5a1f", "width": 3},
        }
        for first, last in frames
    ]
    axis = {"tickmode": "array", "showgrid": False, "zeroline": False}
    layout = {
        "height": height,
        "shapes": shapes,
        "xaxis": {
            **axis,
            "tickvals": list(x),
            "title": {"text": x_title},
            "constrain": "domain",
        },
        "yaxis": {
            **axis,
            "tickvals": list(y),
            "title": {"text": y_title},
            "autorange": "reversed",
            "scaleanchor": "x",
            "constrain": "domain",
        },
    }
    return {"data": [trace], "layout": layout}
