"""What a figure shows, without how: drawn by plotly on the page and by matplotlib for papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Union

Interval = Optional[Tuple[float, float]]


class Line(NamedTuple):
    """A series over x; values that are None are gaps."""

    name: str
    x: Sequence[Any]
    y: Sequence[Optional[float]]
    intervals: Optional[Sequence[Interval]] = None
    colour: int = 0
    """Number of the colour, dash and symbol: of the model, where there are several."""


class Points(NamedTuple):
    """A figure of every head of a model."""

    name: str
    places: Sequence[Tuple[int, int]]
    """Block and head."""
    y: Sequence[Optional[float]]
    intervals: Optional[Sequence[Interval]] = None
    colour: int = 0

    def line(self) -> Line:
        """Over x, with the heads of a block beside each other around the block's number."""
        heads = 1 + max((head for _, head in self.places), default=0)
        x = [block + 0.7 * ((head + 0.5) / heads - 0.5) for block, head in self.places]
        return Line(self.name, x, self.y, self.intervals, self.colour)


@dataclass(frozen=True)
class Panels:
    """Panels side by side with lines, or with a point for each head.

    Attributes:
        panels: title and series of each.
        level: a value to compare with, a line across.
        whole: x are whole numbers.
        joined: points of a line are joined.
    """

    panels: Sequence[Tuple[str, Sequence[Union[Line, Points]]]]
    x_title: str
    y_title: str
    y_range: Optional[Tuple[float, float]] = None
    level: Optional[float] = None
    whole: bool = True
    joined: bool = True
    height: int = 340
    """Pixels on the page."""

    @property
    def names(self) -> List[str]:
        """Of the series, each once."""
        return list(dict.fromkeys(one.name for _, series in self.panels for one in series))


@dataclass(frozen=True)
class Heatmap:
    """A matrix; the first row is on top.

    Attributes:
        values: rows of y, columns of x; None: empty.
        limits: of the colours; those of the values otherwise.
        diverging: colours with a middle between the limits.
        frames: (first, last) indices along the diagonal that a frame is drawn around.
        written: numbers in the cells.
        square: cells are.
    """

    values: Sequence[Sequence[Optional[float]]]
    x: Sequence[Any]
    y: Sequence[Any]
    x_title: str
    y_title: str
    limits: Optional[Tuple[float, float]] = None
    diverging: bool = False
    frames: Sequence[Tuple[int, int]] = ()
    written: bool = False
    square: bool = True
    height: int = 430


Drawing = Union[Panels, Heatmap]


class Chart(NamedTuple):
    """A drawing and what is said about it."""

    name: str
    """Of its files."""
    drawing: Drawing
    title: str
    caption: str
    """Source, unit and scale."""
    mark: str
    """P, A or I; nothing for a plain fact."""
