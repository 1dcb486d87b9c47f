"""Pictures of lattices: what is drawn, and where."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from espnet_plugin.decode.lattices.ctm import write_ctm
from espnet_plugin.decode.lattices.svg import LETTER, draw, lay_out
from espnet_plugin.decode.lattices.word_graph import LabelSequence, WordGraph, word_graph

SVG = "{http://www.w3.org/2000/svg}"


def random_sequences(seed: int, count: int = 30, length: int = 6) -> list[LabelSequence]:
    """Distinct sequences of few words, best first."""
    generator = np.random.default_rng(seed)
    seen: dict[tuple[str, ...], None] = {}
    while len(seen) < count:
        size = int(generator.integers(1, length + 1))
        seen[tuple(generator.choice(["A<B", "LONGWORD", "C&D", "E"], size))] = None
    return [
        LabelSequence(words, tuple(np.cumsum(generator.integers(1, 8, len(words))).tolist()), -i)
        for i, words in enumerate(seen)
    ]


def language(graph: WordGraph) -> list[tuple[str, ...]]:
    """All word sequences from node 0 to a final node."""
    found, waiting = [], [(0, ())]
    while waiting:
        node, words = waiting.pop()
        if graph.finals[node]:
            found.append(words)
        waiting += [(e.target, (*words, e.word)) for e in graph.edges if e.source == node]
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_paths_of_a_graph_are_its_sequences(seed: int) -> None:
    given = random_sequences(seed)
    graph = word_graph(given)
    assert sorted(language(graph)) == sorted(one.words for one in given)
    for one, path in zip(given, graph.paths, strict=True):
        assert tuple(graph.edges[place].word for place in path) == one.words
    shares = np.exp([one.score for one in given])
    shares /= shares.sum()
    for place, edge in enumerate(graph.edges):
        through = [i for i, path in enumerate(graph.paths) if place in path]
        assert edge.posterior == pytest.approx(shares[through].sum())
        assert (edge.rank, edge.best) == (through[0], given[through[0]].score)
    assert len(graph.edges) < sum(len(one.words) for one in given)


def test_no_sequence_no_graph() -> None:
    with pytest.raises(ValueError, match="no label sequence"):
        word_graph([])


@pytest.mark.parametrize("seed", range(5))
def test_the_picture_has_every_arc_and_no_label_covers_another(seed: int) -> None:
    graph = word_graph(random_sequences(seed, count=60))
    text = draw(graph, 0.04, "a <title> & more")
    root = ElementTree.fromstring(text)
    arcs = [group for group in root.iter(f"{SVG}g") if group.get("class") == "arc"]
    drawn = sorted(group.find(f"{SVG}text").text for group in arcs)
    assert drawn == sorted(edge.word for edge in graph.edges)
    red = [g for g in arcs if g.find(f"{SVG}path").get("stroke") == "#c0392b"]
    assert len(red) == len(graph.paths[0])
    layout = lay_out(graph)
    boxes = []
    for place, edge in enumerate(graph.edges):
        assert layout.nodes[edge.target][0] > layout.nodes[edge.source][0]
        x, y = layout.label(edge, place)
        half = LETTER * len(edge.word) / 2
        boxes.append((x - half, x + half, y))
        assert abs(x) < float(root.get("width")) and abs(y) < float(root.get("height"))
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] != other[2] or one[1] <= other[0] or other[1] <= one[0]


def test_nodes_of_the_best_path_stand_at_their_times() -> None:
    best = LabelSequence(("ONE", "TWO"), (10, 22), 0.0)
    graph = word_graph([best, LabelSequence(("ONE", "TOO"), (10, 20), math.log(0.5))])
    layout = lay_out(graph)
    ends = [0, *(graph.edges[place].target for place in graph.paths[0])]
    assert [layout.nodes[node] for node in ends] == [
        (0.0, 0.0),
        (pytest.approx(10 * layout.frame), 0.0),
        (pytest.approx(22 * layout.frame), 0.0),
    ]


def test_ctm_has_kaldi_s_columns(tmp_path: Path) -> None:
    words = [("THE", 0.1, 0.25, 1.0), ("ROAD", 0.4, 0.3, 0.5)]
    write_ctm(tmp_path / "a.ctm", {"u1": words, "u2": []})
    assert (tmp_path / "a.ctm").read_text().splitlines() == [
        "u1 1 0.100 0.250 THE 1.0000",
        "u1 1 0.400 0.300 ROAD 0.5000",
    ]
