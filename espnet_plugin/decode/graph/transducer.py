"""Transducers from tokens to words as arrays, without epsilons: LG before H is put in front."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Arcs:
    """Arcs as columns; all have the same length A.

    Attributes:
        source, target: (A) states.
        token: (A) token ids, never the blank.
        word: (A) word ids, 0 for none.
        lm, lexicon: (A) natural logarithms.
    """

    source: Ints
    target: Ints
    token: Ints
    word: Ints
    lm: Floats
    lexicon: Floats

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: NDArray) -> Arcs:
        """The arcs with these numbers (or where this mask is true), in this order."""
        return Arcs(*(getattr(self, field.name)[rows] for field in fields(self)))

    @staticmethod
    def join(parts: Sequence[Arcs]) -> Arcs:
        """All arcs of all parts."""
        columns = (field.name for field in fields(Arcs))
        return Arcs(*(np.concatenate([getattr(p, name) for p in parts]) for name in columns))


@dataclass(frozen=True)
class Finals:
    """Ways to end: a state may have several, and a path takes the better one.

    Attributes:
        state: (F) states.
        lm, lexicon: (F) natural logarithms.
    """

    state: Ints
    lm: Floats
    lexicon: Floats

    def __len__(self) -> int:
        return len(self.state)

    @staticmethod
    def join(parts: Sequence[Finals]) -> Finals:
        """All ends of all parts."""
        columns = (field.name for field in fields(Finals))
        return Finals(*(np.concatenate([getattr(p, name) for p in parts]) for name in columns))


@dataclass(frozen=True)
class Transducer:
    """An epsilon-free weighted transducer that starts in state 0."""

    num_states: int
    arcs: Arcs
    finals: Finals


def trim(graph: Transducer) -> Transducer:
    """Drop the states that the start does not reach or that reach no end; renumber the rest.

    Raises:
        ValueError: nothing is left.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import breadth_first_order

    arcs, end = graph.arcs, graph.num_states
    source = np.concatenate([arcs.source, graph.finals.state])
    target = np.concatenate([arcs.target, np.full(len(graph.finals), end)])
    size = (end + 1, end + 1)
    ones = np.ones(len(source), dtype=np.int8)
    kept = np.ones(end + 1, dtype=bool)
    for rows, columns, root in ((source, target, 0), (target, source, end)):
        matrix = csr_matrix((ones, (rows, columns)), shape=size)
        seen = np.zeros(end + 1, dtype=bool)
        seen[breadth_first_order(matrix, root, return_predecessors=False)] = True
        kept &= seen
    if not kept[0]:
        raise ValueError("the graph has no path from its start to an end")
    number = np.cumsum(kept) - 1
    arcs = arcs.take(kept[arcs.source] & kept[arcs.target])
    finals = kept[graph.finals.state]
    return Transducer(
        int(kept[:end].sum()),
        Arcs(
            number[arcs.source], number[arcs.target], arcs.token, arcs.word, arcs.lm, arcs.lexicon
        ),
        Finals(
            number[graph.finals.state[finals]],
            graph.finals.lm[finals],
            graph.finals.lexicon[finals],
        ),
    )


def ranges(starts: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Rows of a ragged selection: for each i, ``starts[i] … starts[i] + counts[i] − 1``.

    Returns:
        i for every row, and the rows.
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) - before[owner] + starts[owner]
