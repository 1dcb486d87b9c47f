"""Drawings by matplotlib, for papers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from espnet_plugin.report.drawings import Chart, Heatmap, Line, Panels, Points
from espnet_plugin.report.figures.style import (
    COLOURS,
    COLUMN,
    DASHES,
    MARKERS,
    PAGE,
    new_figure,
    no_frame,
    write_cell,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(chart: Chart) -> Figure:
    """The figure of a chart, as wide as one column or both; call it within ``style.paper``."""
    drawing = chart.drawing
    mark = f" [{chart.mark}]" if chart.mark else ""
    if isinstance(drawing, Panels):
        return _panels(drawing, chart.title + mark)
    return _heatmap(drawing, chart.title + mark)


def _panels(drawing: Panels, title: str) -> Figure:
    count = len(drawing.panels)
    figure = new_figure(COLUMN if count == 1 else PAGE, 2.3)
    all_axes = figure.subplots(1, count, squeeze=False, sharey=drawing.y_range is not None)[0]
    for axes, (name, series) in zip(all_axes, drawing.panels, strict=True):
        for one in series:
            _series(axes, one, drawing.joined)
        if drawing.level is not None:
            axes.axhline(drawing.level, color="0.5", linestyle=":", linewidth=0.8)
        if drawing.y_range is not None:
            axes.set_ylim(*drawing.y_range)
        if drawing.whole:
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.set_xlabel(drawing.x_title)
        axes.set_title(name)
    all_axes[0].set_ylabel(drawing.y_title)
    figure.suptitle(title, fontsize=8)
    if len(drawing.names) > 1:
        handles, labels = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _series(axes: Axes, series: Line | Points, joined: bool) -> None:
    line = series.line() if isinstance(series, Points) else series
    style = line.colour % len(COLOURS)
    y = np.array([np.nan if value is None else value for value in line.y])
    errors = None
    if line.intervals is not None:
        low = [np.nan if i is None else i[0] for i in line.intervals]
        high = [np.nan if i is None else i[1] for i in line.intervals]
        errors = np.clip(np.nan_to_num(np.array([y - low, high - y])), 0, None)
    axes.errorbar(
        line.x,
        y,
        yerr=errors,
        color=COLOURS[style],
        marker=MARKERS[style],
        linestyle=DASHES[style] if joined and isinstance(series, Line) else "none",
        elinewidth=0.8,
        capsize=1.5,
        label=line.name,
    )


def _heatmap(drawing: Heatmap, title: str) -> Figure:
    from matplotlib.patches import Rectangle

    rows, columns = len(drawing.y), len(drawing.x)
    if drawing.square:
        figure = (
            new_figure(COLUMN, COLUMN * 0.92) if columns <= 16 else new_figure(PAGE, PAGE * 0.9)
        )
    else:
        figure = new_figure(PAGE, min(9.0, 0.8 + 0.13 * rows))
    axes = figure.subplots()
    values = np.array([[np.nan if v is None else v for v in row] for row in drawing.values])
    low, high = drawing.limits if drawing.limits is not None else (None, None)
    image = axes.imshow(
        values,
        cmap="RdBu_r" if drawing.diverging else "cividis",
        vmin=low,
        vmax=high,
        aspect="equal" if drawing.square else "auto",
    )
    if drawing.written:
        for (y, x), value in np.ndenumerate(values):
            if np.isfinite(value):
                write_cell(axes, x, y, f"{value:.2f}", bool(image.norm(value) < 0.5), 4.5)
    for first, last in drawing.frames:
        side = last - first + 1
        corner = (first - 0.5, first - 0.5)
        axes.add_patch(Rectangle(corner, side, side, fill=False, ec="#D55E00", lw=1.6))
    small = 7 if max(rows, columns) <= 16 else 5
    axes.set_xticks(range(columns), [str(one) for one in drawing.x], fontsize=small)
    axes.set_yticks(range(rows), [str(one) for one in drawing.y], fontsize=small)
    if columns > 16:
        axes.tick_params(axis="x", rotation=90)
    axes.set_xlabel(drawing.x_title)
    axes.set_ylabel(drawing.y_title)
    no_frame(axes)
    axes.set_title(title)
    bar = figure.colorbar(image, ax=axes, pad=0.02, shrink=0.9)
    no_frame(bar.ax)
    return figure
