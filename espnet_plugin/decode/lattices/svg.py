"""A word graph as an SVG picture, laid out over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple
from xml.sax.saxutils import escape

from espnet_plugin.decode.lattices.word_graph import Edge, WordGraph

LANE = 44.0  # pixels between two lanes
MARGIN = 40.0
LETTER = 7.6  # width of a letter of a label
FRAME = (14.0, 60.0)  # least and most pixels of a frame
BEST, OTHER = "#c0392b", "#34495e"


@dataclass(frozen=True)
class Layout:
    """Where everything is, in pixels.

    Attributes:
        nodes: per node x and y; the best path lies at y = 0.
        lanes: per edge the y of its label; the x is the middle of its ends.
        frame: width of a frame.
    """

    nodes: List[Tuple[float, float]]
    lanes: List[float]
    frame: float

    def label(self, edge: Edge, place: int) -> Tuple[float, float]:
        """The middle of an edge."""
        return (self.nodes[edge.source][0] + self.nodes[edge.target][0]) / 2, self.lanes[place]


def lay_out(graph: WordGraph) -> Layout:
    """Place nodes by time and parallel paths in lanes, so that no two labels overlap.

    A frame is as wide as the best path's words need. A node stands at its time, or further
    right where the word before it needs room. Path by path, best first, what is new of it takes
    the nearest lane above or below the best path that is free between its two ends.
    """
    widths = [LETTER * max(len(edge.word), 4) + 24 for edge in graph.edges]
    needed = [
        widths[place] / max(1, graph.times[edge.target] - graph.times[edge.source])
        for place, edge in ((p, graph.edges[p]) for p in graph.paths[0])
    ]
    frame = min(max([FRAME[0], *needed]), FRAME[1])
    x = [time * frame for time in graph.times]
    for place in _topological(graph):
        edge = graph.edges[place]
        x[edge.target] = max(x[edge.target], x[edge.source] + widths[place])
    y: List[float] = [0.0] * len(x)
    lanes: List[float] = [0.0] * len(graph.edges)
    taken: Dict[int, List[Tuple[float, float]]] = {0: [(float("-inf"), float("inf"))]}
    drawn = set(graph.paths[0])
    for path in graph.paths[1:]:
        for segment in _new_segments(path, drawn):
            left = x[graph.edges[segment[0]].source]
            right = x[graph.edges[segment[-1]].target]
            lane = _free_lane(taken, left, right)
            taken.setdefault(lane, []).append((left, right))
            for place in segment:
                lanes[place] = lane * LANE
            for place in segment[:-1]:
                y[graph.edges[place].target] = lane * LANE
            drawn.update(segment)
    return Layout(list(zip(x, y, strict=True)), lanes, frame)


def _topological(graph: WordGraph) -> List[int]:
    """The edges in an order in which all that enter a node precede all that leave it."""
    waiting = [0] * len(graph.times)
    leaving: List[List[int]] = [[] for _ in graph.times]
    for place, edge in enumerate(graph.edges):
        waiting[edge.target] += 1
        leaving[edge.source].append(place)
    ready = [node for node, count in enumerate(waiting) if count == 0]
    order = []
    while ready:
        for place in leaving[ready.pop()]:
            order.append(place)
            target = graph.edges[place].target
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    return order


def _new_segments(path: List[int], drawn: set[int]) -> List[List[int]]:
    segments: List[List[int]] = []
    before = False
    for place in path:
        new = place not in drawn
        if new and not before:
            segments.append([])
        if new:
            segments[-1].append(place)
        before = new
    return segments


def _free_lane(taken: Dict[int, List[Tuple[float, float]]], left: float, right: float) -> int:
    step = 1
    while True:
        for lane in (-step, step):
            if all(right <= a or left >= b for a, b in taken.get(lane, [])):
                return lane
        step += 1


def draw(graph: WordGraph, seconds_per_frame: float, title: str = "") -> str:
    """The picture as SVG text.

    Every edge is a ``<path>`` with its word and its posterior; its tooltip tells the score of
    the best sequence through it. The best path is red and thick; below is the time axis.
    """
    layout = lay_out(graph)
    top = min([0.0, *layout.lanes]) - LANE
    bottom = max([0.0, *layout.lanes]) + LANE
    width = max(x for x, _ in layout.nodes) + 2 * MARGIN
    width = max(width, LETTER * len(title) + 2 * MARGIN)
    height = bottom - top + 2 * MARGIN
    body = [f'<text x="0" y="{top:.1f}" class="title">{escape(title)}</text>']
    best = set(graph.paths[0])
    # The best path last, so that it lies on top.
    for place in sorted(range(len(graph.edges)), key=lambda p: (p in best, -graph.edges[p].rank)):
        body.append(_edge(graph.edges[place], layout, place, place in best))
    for node, (x, y) in enumerate(layout.nodes):
        kind = "final" if graph.finals[node] else "node"
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="{kind}"/>')
    body += _axis(layout, bottom, seconds_per_frame)
    style = (
        "text{font:13px sans-serif;text-anchor:middle}.title{text-anchor:start;font-size:15px}"
        ".p{font-size:10px;fill:#777}.edge{fill:none}.node{fill:#fff;stroke:#34495e}"
        ".final{fill:#34495e}.axis{stroke:#999}.tick{font-size:11px;fill:#777}"
        ".halo{stroke:#fff;stroke-width:4;paint-order:stroke}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{-MARGIN:.0f} {top - MARGIN:.0f} {width:.0f} {height:.0f}">\n'
        f'<style>{style}</style>\n<rect x="{-MARGIN:.0f}" y="{top - MARGIN:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" fill="#fff"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _edge(edge: Edge, layout: Layout, place: int, best: bool) -> str:
    (x0, y0), (x1, y1) = layout.nodes[edge.source], layout.nodes[edge.target]
    x, y = layout.label(edge, place)
    # The control points' y that brings the middle of the curve to the lane.
    control = (8 * y - y0 - y1) / 6
    third = (x1 - x0) / 3
    colour, thick = (BEST, 2.6) if best else (OTHER, 1.2)
    opacity = 1.0 if best else 0.55 + 0.45 * edge.posterior
    word = escape(edge.word)
    return (
        f'<g class="arc" opacity="{opacity:.2f}"><title>{word}: posterior {edge.posterior:.4f}, '
        f"best score {edge.best:.3f}, rank {edge.rank + 1}</title>"
        f'<path class="edge" stroke="{colour}" stroke-width="{thick}" '
        f'd="M{x0:.1f},{y0:.1f} C{x0 + third:.1f},{control:.1f} {x1 - third:.1f},{control:.1f} '
        f'{x1:.1f},{y1:.1f}"/>'
        f'<text class="halo" x="{x:.1f}" y="{y - 4:.1f}" fill="{colour}">{word}</text>'
        f'<text class="p halo" x="{x:.1f}" y="{y + 12:.1f}">{edge.posterior:.2f}</text></g>'
    )


def _axis(layout: Layout, y: float, seconds_per_frame: float) -> List[str]:
    right = max(x for x, _ in layout.nodes)
    lines = [f'<line class="axis" x1="0" y1="{y:.1f}" x2="{right:.1f}" y2="{y:.1f}"/>']
    second = layout.frame / seconds_per_frame
    step = 0.5 if second < 800 else 0.1
    for tick in range(int(right / (second * step)) + 1):
        x = tick * step * second
        lines.append(
            f'<line class="axis" x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{y + 5:.1f}"/>'
        )
        lines.append(f'<text class="tick" x="{x:.1f}" y="{y + 18:.1f}">{tick * step:g} s</text>')
    return lines
