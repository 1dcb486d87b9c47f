"""A lattice as a deterministic automaton over its output labels, made only where it is asked.

The states of the automaton are output prefixes. Each is the set of lattice states that some
alignment of the prefix ends in, with the best score of such an alignment: the weighted subset
construction in the tropical semiring (Mohri & Riley 2002, "An efficient algorithm for the
n-best-strings problem"), with epsilon arcs followed inside the subsets.

Scores are held as integers, multiples of 2⁻⁴⁰, so that sums do not depend on their order and
equal scores are equal. The error of one arc is below 10⁻¹².
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    import k2

UNIT = 2.0**40
NONE = float("-inf")


class Alignment(NamedTuple):
    """The best way into a lattice state: its score, the last arc, and the way before that."""

    score: int
    arc: int
    before: Optional[Alignment]

    def arcs(self) -> List[int]:
        """The arcs from the start on."""
        found: List[int] = []
        way: Optional[Alignment] = self
        while way is not None and way.arc >= 0:
            found.append(way.arc)
            way = way.before
        return found[::-1]


Subset = Dict[int, Alignment]
Arc = Tuple[int, int, int, int, int]
"""Best score from its source to the end through it, output label (0: none), destination, score,
number of the arc."""


class PrefixAutomaton:
    """One lattice's output prefixes.

    Args:
        states: how many states the lattice has; 0 is the start, the last one is final.
        arcs: (source, destination) of each arc, sorted by source, sources below destinations.
        scores: of each arc; −inf closes it.
        outputs: the output labels of each arc, all above 0.
        numbers: by which alignments name the arcs; their places if None.

    Attributes:
        backward: per lattice state the best score from it to the end; None if it does not get
            there.
        visits: how many arcs have been followed so far.
    """

    def __init__(
        self,
        states: int,
        arcs: Sequence[Tuple[int, int]],
        scores: Sequence[float],
        outputs: Sequence[Sequence[int]],
        numbers: Optional[Sequence[int]] = None,
    ) -> None:
        numbers = range(len(arcs)) if numbers is None else numbers
        self.final = states - 1
        self.epsilon: List[List[Arc]] = [[] for _ in range(states)]
        self.emitting: List[List[Arc]] = [[] for _ in range(states)]
        self.backward: List[Optional[int]] = [None] * states
        self.visits = 0
        if states:
            self.backward[self.final] = 0
        for arc in range(len(arcs) - 1, -1, -1):
            source, destination = arcs[arc]
            rest = self.backward[destination]
            if rest is None or scores[arc] == float("-inf"):
                continue
            score = round(scores[arc] * UNIT)
            known = self.backward[source]
            if known is None or score + rest > known:
                self.backward[source] = score + rest
            number = numbers[arc]
            if outputs[arc]:
                self._add_emitting(source, destination, score, number, outputs[arc])
            else:
                self.epsilon[source].append((score + rest, 0, destination, score, number))
        for leaving in (*self.epsilon, *self.emitting):
            leaving.sort(key=lambda arc: (-arc[0], arc[4]))

    def _add_emitting(
        self, source: int, destination: int, score: int, arc: int, labels: Sequence[int]
    ) -> None:
        """Add an arc; one with several labels becomes a chain through states of its own."""
        rest = self._rest(destination)
        for label in reversed(labels[1:]):
            between = len(self.backward)
            self.emitting.append([(rest, label, destination, 0, -1)])
            self.epsilon.append([])
            self.backward.append(rest)
            destination = between
        self.emitting[source].append((score + rest, labels[0], destination, score, arc))

    def start(self) -> Subset:
        """The empty prefix; nothing if the lattice has no path."""
        return {0: Alignment(0, -1, None)} if self.backward and self.backward[0] is not None else {}

    def best(self, subset: Subset) -> int:
        """The score of the best complete path through the subset."""
        return max(way.score + self._rest(state) for state, way in subset.items())

    def close(self, subset: Subset, floor: float = NONE) -> Subset:
        """The subset with all that epsilon arcs lead to from it.

        Args:
            subset: not closed.
            floor: ways whose best completion is below this are left out, here and in
                :meth:`extend`. They cannot be part of a path that is as good as this.
        """
        closed = {s: way for s, way in subset.items() if way.score + self._rest(s) >= floor}
        waiting = list(closed)
        heapify(waiting)
        while waiting:
            way = closed[state := heappop(waiting)]
            lowest = floor - way.score
            for through, _, destination, score, arc in self.epsilon[state]:
                if through < lowest:  # the others are worse
                    break
                self.visits += 1
                known = closed.get(destination)
                if known is None:
                    heappush(waiting, destination)
                if known is None or way.score + score > known.score:
                    closed[destination] = Alignment(way.score + score, arc, way)
        return closed

    def extend(self, closed: Subset, floor: float = NONE) -> Dict[int, Subset]:
        """The prefixes that are one label longer than that of a closed subset, not closed."""
        longer: Dict[int, Subset] = {}
        for state in sorted(closed):
            way = closed[state]
            lowest = floor - way.score
            for through, label, destination, score, arc in self.emitting[state]:
                if through < lowest:
                    break
                self.visits += 1
                subset = longer.setdefault(label, {})
                known = subset.get(destination)
                if known is None or way.score + score > known.score:
                    if arc >= 0:
                        subset[destination] = Alignment(way.score + score, arc, way)
                    else:  # a further label of the arc before
                        subset[destination] = way
        return longer

    def _rest(self, state: int) -> int:
        rest = self.backward[state]
        assert rest is not None  # only states that reach the end are ever entered
        return rest


class AutomatonMaker:
    """Makes the automata of an FsaVec, one by one; their arcs are numbered within the lattice.

    Args:
        lattice: top-sorted, ``aux_labels`` plain or ragged, on any device.

    Raises:
        ValueError: if a lattice is not top-sorted.
    """

    def __init__(self, lattice: k2.Fsa) -> None:
        arcs = lattice.arcs.values()[:, :2]
        if bool((arcs[:, 0] >= arcs[:, 1]).any()):
            raise ValueError("the lattices are not sorted topologically: use k2.top_sort first")
        self.lattice = lattice
        self.first_states, self.first_arcs = lattice_bounds(lattice)

    def __len__(self) -> int:
        return len(self.first_arcs) - 1

    def __call__(self, i: int, kept: Optional[Tensor] = None) -> PrefixAutomaton:
        """The automaton of lattice ``i``.

        Args:
            i: which one.
            kept: numbers of its arcs, ascending, if it shall have no others.
        """
        begin, end = self.first_arcs[i : i + 2]
        if kept is None:
            kept = torch.arange(end - begin, device=self.lattice.device)
        index = kept + begin
        return PrefixAutomaton(
            self.first_states[i + 1] - self.first_states[i],
            self.lattice.arcs.values()[index, :2].tolist(),
            self.lattice.scores.detach()[index].tolist(),
            output_labels(self.lattice, index),
            kept.tolist(),
        )


def lattice_bounds(lattice: k2.Fsa) -> Tuple[List[int], List[int]]:
    """Where the states and the arcs of each lattice of an FsaVec begin, and where the last end."""
    shape = lattice.arcs.shape()
    states = shape.row_splits(1).cpu()
    arcs = shape.row_splits(2).cpu()[states.long()]
    return states.tolist(), arcs.tolist()


def output_labels(lattice: k2.Fsa, index: Optional[Tensor] = None) -> List[List[int]]:
    """Per arc of a lattice, or per arc of ``index`` (int64), its output labels above 0."""
    labels = lattice.aux_labels
    if isinstance(labels, Tensor):
        chosen = labels if index is None else labels[index]
        return [[label] if label > 0 else [] for label in chosen.tolist()]
    if index is not None:
        labels, _ = labels.index(index.to(torch.int32), axis=0, need_value_indexes=False)
    return labels.remove_values_leq(0).tolist()
