"""The measures and categories of all heads, and the maps of an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Sequence

import numpy as np

from espnet_plugin.analysis.examples.pictures import LEVELS, decode
from espnet_plugin.report.analyses import Analysis
from espnet_plugin.report.figures.style import PAGE, new_figure, no_frame, write_cell
from espnet_plugin.report.html.heads import CATEGORIES, MEASURES, grid, leaders
from espnet_plugin.report.html.markup import block_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CATEGORY_COLOURS = {"diagonal": "#56B4E9", "vertical": "#E69F00", "global": "#CC79A7"}


def measures(analysis: Analysis) -> Figure:
    """Heads × blocks: a heat map of each measure, and the category of each head."""
    sources = analysis.results["attention"]["sources"]
    shown = [one for one in MEASURES if one.key in sources]
    blocks = len(analysis.results["attention"]["blocks"])
    heads = len(grid(analysis, "category"))
    columns = 2 if blocks <= 12 else 1
    rows = -(-(len(shown) + 1) // columns)
    figure = new_figure(PAGE, rows * (0.19 * heads + 0.62))
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    size = 5.5 if blocks <= 8 else 4
    for axes, measure in zip(all_axes, shown):  # noqa: B905
        values = _numbers(analysis, measure.key)
        image = axes.imshow(values, cmap="cividis", aspect="auto")
        for (y, x), value in np.ndenumerate(values):
            if np.isfinite(value):
                write_cell(axes, x, y, f"{value:.2f}", bool(image.norm(value) < 0.5), size)
        unit = f" ({measure.unit.strip()})" if measure.unit else ""
        _cell_axes(axes, f"{measure.title}{unit} [{measure.mark}]", analysis, heads)
        bar = figure.colorbar(image, ax=axes, pad=0.02)
        bar.ax.tick_params(labelsize=6)
        no_frame(bar.ax)
    _categories(all_axes[len(shown)], analysis, heads)
    for axes in all_axes[len(shown) + 1 :]:
        axes.axis("off")
    return figure


def _categories(axes: Axes, analysis: Analysis, heads: int) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    found = grid(analysis, "category")
    numbers = [[CATEGORIES.index(c) if c in CATEGORIES else np.nan for c in row] for row in found]
    palette = ListedColormap([CATEGORY_COLOURS[name] for name in CATEGORIES])
    axes.imshow(numbers, cmap=palette, vmin=-0.5, vmax=2.5, aspect="auto")
    for y, row in enumerate(found):
        for x, value in enumerate(row):
            if value in CATEGORIES:
                write_cell(axes, x, y, value[0].upper(), False, 6)
    _cell_axes(axes, "Category [P]", analysis, heads)
    patches = [
        Patch(color=colour, label=f"{name[0].upper()} {name}")
        for name, colour in CATEGORY_COLOURS.items()
    ]
    axes.legend(
        handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=3, frameon=False
    )


def _numbers(analysis: Analysis, key: str) -> np.ndarray:
    return np.array([[np.nan if v is None else v for v in row] for row in grid(analysis, key)])


def _cell_axes(axes: Axes, title: str, analysis: Analysis, heads: int) -> None:
    leader = leaders(analysis)
    blocks = [one["block"] for one in analysis.results["attention"]["blocks"]]
    names = [
        block_label(block, leader.get(block, block)).replace(" = ", "\n= ") for block in blocks
    ]
    axes.set_title(title)
    axes.set_xticks(range(len(blocks)), names)
    axes.set_yticks(range(heads), [str(head) for head in range(heads)])
    axes.set_xlabel("block")
    axes.set_ylabel("head")
    axes.tick_params(length=0)
    no_frame(axes)


def maps(analysis: Analysis, place: int = 0, most: int = 6) -> Figure:
    """The maps of one example: a row for each block, a column for each head; pictures.

    Args:
        analysis: with examples.
        place: of the utterance among the examples.
        most: blocks and heads at most; evenly spread where there are more.
    """
    examples = analysis.results["examples"]
    utterance = examples["utterances"][place]
    pictures = analysis.arrays("examples")["pictures"]
    blocks = _spread(utterance["blocks"], most)
    columns = max(len(_spread(block["heads"], most)) for block in blocks)
    cell = min(1.15, (PAGE - 0.4) / columns)
    figure = new_figure(columns * cell + 0.4, len(blocks) * (cell + 0.12) + 0.35)
    axes_grid = figure.subplots(len(blocks), columns, squeeze=False, sharex=True, sharey=True)
    clock = examples["clock"]
    first = clock["centre"] / clock["rate"]
    last = first + (utterance["frames"] - 1) * clock["shift"] / clock["rate"]
    for row, block in zip(axes_grid, blocks, strict=True):
        for axes in row:
            axes.axis("off")
        for axes, head in zip(row, _spread(block["heads"], most)):  # noqa: B905
            data = pictures[head["place"] : head["place"] + head["bytes"]].tobytes()
            axes.axis("on")
            axes.imshow(
                decode(data),
                cmap="magma",
                vmin=0,
                vmax=LEVELS,
                extent=(first, last, last, first),
                interpolation="antialiased",
            )
            axes.set_title(f"block {block['block']}, head {head['head']}", pad=2, fontsize=6)
            axes.tick_params(labelsize=5, length=1.5)
    figure.supxlabel("key (s)", fontsize=7)
    figure.supylabel("query (s)", fontsize=7)
    return figure


def _spread(values: Sequence[Any], most: int) -> List[Any]:
    if len(values) <= most:
        return list(values)
    return [values[round(n)] for n in np.linspace(0, len(values) - 1, most)]
