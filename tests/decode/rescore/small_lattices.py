"""Small lattices, drawn at random or written down, and all their paths by enumeration."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import Iterator, List, Sequence, Tuple

import k2
import torch
from hypothesis import strategies as st


@dataclass(frozen=True)
class Arc:
    """An arc of a small lattice; ``label`` −1 on the arcs to the final state."""

    source: int
    destination: int
    label: int
    words: Tuple[int, ...] = ()
    am: float = 0.0
    lm: float = 0.0
    lexicon: float = 0.0


@dataclass(frozen=True)
class Small:
    """One lattice: the last state is final."""

    states: int
    arcs: List[Arc] = field(default_factory=list)

    def paths(self, state: int = 0) -> Iterator[List[Arc]]:
        """All complete paths."""
        if state == self.states - 1:
            yield []
        for arc in self.arcs:
            if arc.source == state:
                for rest in self.paths(arc.destination):
                    yield [arc, *rest]


def words(path: Sequence[Arc]) -> Tuple[int, ...]:
    return tuple(word for arc in path for word in arc.words)


def tokens(path: Sequence[Arc]) -> Tuple[int, ...]:
    return tuple(label for label, _ in groupby(arc.label for arc in path) if label > 0)


def to_fsa_vec(lattices: Sequence[Small], ragged: bool = True) -> k2.Fsa:
    """An FsaVec with the attributes that lattices carry."""
    arcs = [arc for one in lattices for arc in sorted(one.arcs, key=lambda arc: arc.source)]
    states = [0, *accumulate(one.states for one in lattices)]
    ends = [0, *accumulate(len(one.arcs) for one in lattices)]
    rows = [x for arc in arcs for x in (arc.source, arc.destination, arc.label, 0)]
    numbers = [len(lattices), 0, *states, *ends, *rows]  # the form of Fsa.as_dict
    fsa = k2.Fsa(torch.tensor(numbers, dtype=torch.int32))
    if ragged:
        fsa.aux_labels = k2.RaggedTensor(
            k2.ragged.RaggedShape(
                "[ " + "".join("[ " + "x " * len(a.words) + "] " for a in arcs) + "]"
            ),
            torch.tensor([w for arc in arcs for w in arc.words], dtype=torch.int32),
        )
    else:
        fsa.aux_labels = torch.tensor(
            [-1 if arc.label < 0 else (arc.words or (0,))[0] for arc in arcs], dtype=torch.int32
        )
    fsa.am_scores = torch.tensor([arc.am for arc in arcs])
    fsa.lm_scores = torch.tensor([arc.lm for arc in arcs])
    fsa.lexicon_scores = torch.tensor([arc.lexicon for arc in arcs])
    fsa.frame = torch.tensor(
        [-1 if arc.label < 0 else arc.source for arc in arcs], dtype=torch.int32
    )
    fsa.scores = fsa.am_scores + fsa.lm_scores + fsa.lexicon_scores
    return fsa


SCORES = st.one_of(
    st.sampled_from([0.0, -0.5, -1.0, -1.5]),
    st.floats(-5, 0, width=32).map(lambda x: float(torch.tensor(x))),
)


@st.composite
def small_lattices(draw: st.DrawFn, most_words: int = 2, vocabulary: int = 3) -> Small:
    """A random acyclic lattice, sometimes with dead ends or no path at all."""
    states = draw(st.integers(2, 6))
    arcs = []
    for _ in range(draw(st.integers(0, 9))):
        source = draw(st.integers(0, states - 2))
        destination = draw(st.integers(source + 1, states - 1))
        final = destination == states - 1
        spoken = draw(st.lists(st.integers(1, vocabulary), max_size=most_words))
        arcs.append(
            Arc(
                source,
                destination,
                -1 if final else draw(st.integers(0, 3)),
                () if final else tuple(spoken),
                *(draw(SCORES) for _ in range(3)),
            )
        )
    return Small(states, arcs) if arcs else Small(0)
