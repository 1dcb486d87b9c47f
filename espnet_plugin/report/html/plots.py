"""Drawings as descriptions for plotly: plain dictionaries, colours by name (assets/figures.js)."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Union

from espnet_plugin.report.drawings import Drawing, Heatmap, Interval, Line, Panels, Points

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross", "hexagon")
GAP = 0.06
"""Between panels, as a share of the width."""


def describe(drawing: Drawing) -> Dict[str, Any]:
    """``data`` and ``layout`` of a drawing."""
    return _panels(drawing) if isinstance(drawing, Panels) else _heatmap(drawing)


def _panels(drawing: Panels) -> Dict[str, Any]:
    count = len(drawing.panels)
    width = (1 - GAP * (count - 1)) / count
    several = len(drawing.names) > 1
    layout: Dict[str, Any] = {
        "height": drawing.height,
        "annotations": [],
        "shapes": [],
        "showlegend": several,
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1 + 26 / (drawing.height - 90),
            "yanchor": "bottom",
        },
        "margin": {"l": 58, "r": 16, "t": 62 if several else 30, "b": 44},
    }
    data: List[Dict[str, Any]] = []
    named = set()
    for n, (title, series) in enumerate(drawing.panels):
        axis = "" if n == 0 else str(n + 1)
        left = n * (width + GAP)
        few = drawing.whole and all(len(set(_whole(one))) <= 26 for one in series)
        layout[f"xaxis{axis}"] = {
            "domain": [left, min(1.0, left + width)],
            "anchor": f"y{axis}",
            "title": {"text": drawing.x_title},
            **({"dtick": 1} if few else {}),
            **({"type": "category"} if _named(series) else {}),
        }
        layout[f"yaxis{axis}"] = {"anchor": f"x{axis}", "zeroline": False}
        if drawing.y_range is not None:
            layout[f"yaxis{axis}"]["range"] = list(drawing.y_range)
        if n == 0:
            layout["yaxis"]["title"] = {"text": drawing.y_title}
        if title:
            layout["annotations"].append(_heading(title, left + width / 2))
        if drawing.level is not None:
            layout["shapes"].append(_level(drawing.level, axis))
        for one in series:
            data.append(_trace(one, axis, one.name not in named))
            if not drawing.joined:
                data[-1]["mode"] = "markers"
            named.add(one.name)
    return {"data": data, "layout": layout}


def _whole(series: Union[Line, Points]) -> Sequence[Any]:
    return [block for block, _ in series.places] if isinstance(series, Points) else series.x


def _named(series: Sequence[Union[Line, Points]]) -> bool:
    """Whether x are names, which may look like numbers."""
    return any(isinstance(x, str) for one in series for x in _whole(one))


def _heading(title: str, x: float) -> Dict[str, Any]:
    return {
        "text": title,
        "x": x,
        "y": 1.0,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "center",
        "yanchor": "bottom",
        "showarrow": False,
    }


def _level(value: float, axis: str) -> Dict[str, Any]:
    return {
        "type": "line",
        "xref": f"x{axis} domain",
        "yref": f"y{axis}",
        "x0": 0,
        "x1": 1,
        "y0": value,
        "y1": value,
        "line": {"color": "@soft", "width": 1.2, "dash": "dot"},
    }


def _trace(series: Union[Line, Points], axis: str, first: bool) -> Dict[str, Any]:
    line = series.line() if isinstance(series, Points) else series
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
    if isinstance(series, Points):
        trace["mode"] = "markers"
        trace["text"] = [f"block {block}, head {head}" for block, head in series.places]
        trace["hovertemplate"] = "%{text}: %{y}<extra></extra>"
    if line.intervals is not None:
        trace["error_y"] = _errors(line.y, line.intervals, style)
    return trace


def _errors(y: Sequence[Any], intervals: Sequence[Interval], style: int) -> Dict[str, Any]:
    above, below = [], []
    for value, interval in zip(y, intervals, strict=True):
        there = value is not None and interval is not None
        above.append(round(interval[1] - value, 6) if there and interval else 0)
        below.append(round(value - interval[0], 6) if there and interval else 0)
    return {
        "type": "data",
        "symmetric": False,
        "array": above,
        "arrayminus": below,
        "thickness": 1.4,
        "width": 4,
        "color": f"@{style}",
    }


def _heatmap(drawing: Heatmap) -> Dict[str, Any]:
    rows = [[None if v is None else float(f"{v:.4g}") for v in row] for row in drawing.values]
    trace: Dict[str, Any] = {
        "type": "heatmap",
        "z": rows,
        "x": list(drawing.x),
        "y": list(drawing.y),
        "colorscale": "@diverging" if drawing.diverging else "@sequential",
        "colorbar": {"thickness": 12, "outlinewidth": 0, "len": 0.9},
        "hovertemplate": f"{drawing.y_title} %{{y}}, {drawing.x_title} %{{x}}: %{{z}}"
        "<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
    }
    if drawing.limits is not None:
        trace["zmin"], trace["zmax"] = drawing.limits
    if drawing.written:
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
        for first, last in drawing.frames
    ]
    y_axis = {**_axis(drawing.y, drawing.y_title), "autorange": "reversed"}
    if drawing.square:
        y_axis["scaleanchor"] = "x"
    layout = {
        "height": drawing.height,
        "shapes": shapes,
        "xaxis": _axis(drawing.x, drawing.x_title),
        "yaxis": y_axis,
    }
    return {"data": [trace], "layout": layout}


def _axis(values: Sequence[Any], title: str) -> Dict[str, Any]:
    axis = {
        "tickmode": "array",
        "tickvals": list(values),
        "title": {"text": title},
        "showgrid": False,
        "zeroline": False,
        "constrain": "domain",
    }
    if len(values) and isinstance(values[0], str):
        axis["type"] = "category"  # names that look like numbers stay names
    return axis
