"""What figures for papers have in common: sizes, fonts, colours, and how they are written.

Colours are told apart with colour-blindness too (cividis, magma, the palette of Okabe and Ito), and
no figure relies on colour alone.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, List

from espnet_plugin.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN = 3.4
"""Inches: one column of a two-column paper."""
PAGE = 7.0
"""Inches: both columns."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "D", "^", "x", "*", "P", "h")
DASHES = ("-", "--", ":", "-.", "-", "--", ":", "-.")
SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # TrueType, embedded: journals refuse type 3
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@contextmanager
def paper() -> Iterator[None]:
    """matplotlib with the settings for papers.

    Raises:
        ImportError: matplotlib is not installed; one line says what to do.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'espnet_plugin[report]'") from None
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every glyph
    with rc_context(SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches; call it within :func:`paper`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, folder: Path, name: str) -> List[Path]:
    """Write ``name.png`` (300 dots per inch) and ``name.pdf`` (vectors, embedded fonts)."""
    written = []
    for kind in ("png", "pdf"):
        path = folder / f"{name}.{kind}"
        facts = (
            {"CreationDate": None} if kind == "pdf" else None
        )  # the same file from the same data
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=300, format=kind, metadata=facts)
        written.append(path)
    return written


def no_frame(axes: Axes) -> None:
    """Take the lines around the axes away."""
    for spine in axes.spines.values():
        spine.set_visible(False)


def write_cell(axes: Axes, x: float, y: float, text: str, dark: bool, size: float) -> None:
    """A number in the middle of a cell that is dark or light."""
    colour = "white" if dark else "black"
    axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=size)
