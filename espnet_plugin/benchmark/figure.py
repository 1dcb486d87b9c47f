"""A benchmark as a figure: real-time factor and memory by length, one column for each batch.

Models are told apart by marker and line as well as by colour (the palette of Okabe and Ito).
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any, Dict, List

from espnet_plugin.atomic import PathLike, atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
MARKERS, LINES = ("o", "s", "^", "v", "D", "P", "X", "*"), ("-", "--", ":", "-.")
ROWS = (("encoder_rtf", 1.0, "real-time factor"), ("peak_bytes", 1e-6, "peak memory (MB)"))


def plot_benchmark(result: Dict[str, Any], path: PathLike) -> None:
    """Draw the figure.

    Args:
        result: of :func:`espnet_plugin.benchmark.measure.measure`.
        path: the PNG.

    Raises:
        ImportError: there is no matplotlib; one line that says what to install.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("the figure needs matplotlib: pip install matplotlib") from None
    batches = sorted({row["batch"] for row in result["speeds"]})
    height = 5.6 + 0.28 * len(result["models"])
    figure = Figure(figsize=(1.5 + 3.8 * len(batches), height), layout="constrained")
    axes = figure.subplots(len(ROWS), len(batches), squeeze=False, sharex=True, sharey="row")
    for (key, scale, label), line in zip(ROWS, axes, strict=True):
        for batch, one in zip(batches, line, strict=True):
            _curves(one, [row for row in result["speeds"] if row["batch"] == batch], key, scale)
        line[0].set_ylabel(label)
        line[0].set_ylim(bottom=0)
    for batch, top, bottom in zip(batches, axes[0], axes[-1], strict=True):
        top.set_title("one utterance" if batch == 1 else f"{batch} utterances at once", fontsize=11)
        bottom.set_xlabel("length (s)")
    handles, _ = axes[0][0].get_legend_handles_labels()
    labels = [
        f"{name}: {size['parameters'] / 1e6:.2f} M, {size['macs_per_second'] / 1e9:.3g} GMAC/s"
        for name, size in result["models"].items()
    ]
    figure.legend(handles, labels, loc="outside lower center", ncols=1, fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _curves(axes: Axes, rows: List[Dict[str, Any]], key: str, scale: float) -> None:
    names = list(dict.fromkeys(row["model"] for row in rows))
    styles = zip(cycle(COLOURS), cycle(MARKERS), cycle(LINES), strict=False)
    for name, (colour, marker, line) in zip(names, styles, strict=False):
        points = sorted((row["seconds"], row[key] * scale) for row in rows if row["model"] == name)
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, ls=line, label=name)
    axes.grid(alpha=0.3)
