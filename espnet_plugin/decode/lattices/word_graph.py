"""The label sequences of a lattice as a small graph, for drawing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Dict, List, Sequence, Tuple

import numpy as np

from espnet_plugin.decode.lattices.alignment import Labels, read_paths
from espnet_plugin.decode.rescore.nbest import nbest_paths
from espnet_plugin.decode.scales import Scales

if TYPE_CHECKING:
    import k2


@dataclass(frozen=True)
class LabelSequence:
    """One label sequence.

    Attributes:
        words: its words.
        ends: frames in which they end.
        score: its score, natural logarithm.
    """

    words: Tuple[str, ...]
    ends: Tuple[int, ...]
    score: float


def sequences(
    lattice: k2.Fsa, labels: Labels, scales: Scales, num_paths: int, beam: float
) -> List[LabelSequence]:
    """The best word sequences of a lattice, each with the times of its best alignment.

    Args:
        lattice: an FsaVec of one.
        labels: what its labels mean.
        scales: what its scores were made with.
        num_paths: most of them.
        beam: those worse than the best by more than this are left out.
    """
    (paths,) = nbest_paths(lattice, num_paths)
    scores = [path.score(scales) for path in paths]
    kept = [path for path, score in zip(paths, scores, strict=True) if score >= scores[0] - beam]
    found: Dict[Tuple[str, ...], LabelSequence] = {}
    aligned = read_paths(lattice, [path.arcs for path in kept])
    for arcs, score in zip(aligned, scores, strict=False):
        words = labels.align(arcs)
        key = tuple(word.text for word in words)  # two token sequences may spell the same words
        if key not in found:
            found[key] = LabelSequence(key, tuple(word.last + 1 for word in words), score)
    return list(found.values())


@dataclass
class Edge:
    """A word between two nodes.

    Attributes:
        source: the node that it leaves.
        target: the node that it enters.
        word: what stands on it.
        posterior: probability of the sequences through it, among those in the graph.
        best: score of the best of them.
        rank: place of the best of them, 0 the first.
    """

    source: int
    target: int
    word: str
    posterior: float = 0.0
    best: float = -np.inf
    rank: int = -1


@dataclass
class WordGraph:
    """The minimal deterministic automaton of some label sequences: just these are its paths.

    Attributes:
        edges: its arcs.
        times: per node the frame in which the words before it end, on the best path through it.
        ranks: per node the place of the best sequence through it.
        finals: per node whether a sequence may end there.
        paths: per sequence, best first, the places of its edges.
    """

    edges: List[Edge] = field(default_factory=list)
    times: List[int] = field(default_factory=list)
    ranks: List[int] = field(default_factory=list)
    finals: List[bool] = field(default_factory=list)
    paths: List[List[int]] = field(default_factory=list)


def word_graph(sequences: Sequence[LabelSequence]) -> WordGraph:
    """Build the graph: a tree of prefixes whose equal subtrees are merged.

    Args:
        sequences: distinct, best first, at least one.

    Raises:
        ValueError: there are none.
    """
    if not sequences:
        raise ValueError("there is no label sequence to draw")
    children: List[Dict[str, int]] = [{}]
    complete = [False]
    for one in sequences:
        node = 0
        for word in one.words:
            if word not in children[node]:
                children[node][word] = len(children)
                children.append({})
                complete.append(False)
            node = children[node][word]
        complete[node] = True
    # Bottom-up: children have higher numbers than parents.
    merged: Dict[object, int] = {}
    kind = [0] * len(children)
    for node in range(len(children) - 1, -1, -1):
        right = (complete[node], tuple(sorted((w, kind[c]) for w, c in children[node].items())))
        kind[node] = merged.setdefault(right, len(merged))
    graph = WordGraph()
    numbers: Dict[int, int] = {}
    edges: Dict[Tuple[int, str], int] = {}

    def number(node: int, time: int, rank: int) -> int:
        state = kind[node]
        if state not in numbers:
            numbers[state] = len(numbers)
            graph.finals.append(complete[node])
            graph.times.append(time)
            graph.ranks.append(rank)
        return numbers[state]

    scores = np.array([one.score for one in sequences], dtype=np.float64)
    shares = np.exp(scores - np.logaddexp.reduce(scores))
    for rank, one in enumerate(sequences):
        node = 0
        path: List[int] = []
        source = number(0, 0, rank)
        for word, end in zip(one.words, one.ends, strict=True):
            node = children[node][word]
            target = number(node, end, rank)
            if (source, word) not in edges:
                edges[source, word] = len(graph.edges)
                graph.edges.append(Edge(source, target, word, 0.0, one.score, rank))
            edge = graph.edges[edges[source, word]]
            edge.posterior += float(shares[rank])
            path.append(edges[source, word])
            source = target
        graph.paths.append(path)
    return graph
