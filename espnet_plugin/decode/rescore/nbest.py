"""n-best lists of lattices: the best distinct label sequences, exact or drawn at random."""

from __future__ import annotations

import logging
import math
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch

from espnet_plugin.compat import require_k2
from espnet_plugin.decode.rescore.nearest import arc_distances, nearest_arcs
from espnet_plugin.decode.rescore.prefixes import (
    NONE,
    UNIT,
    Alignment,
    AutomatonMaker,
    PrefixAutomaton,
    Subset,
    lattice_bounds,
)
from espnet_plugin.decode.scales import Scales, check_parts

if TYPE_CHECKING:
    import k2

logger = logging.getLogger(__name__)

MAX_VISITS = 3_000_000
FIRST_ARCS, MAX_ARCS, GROWTH = 20_000, 500_000, 5
"""How many arcs of a lattice are searched at first and at most; more if the list needs them."""
ROUNDING = 1e-6
"""Above the difference of two sums of a path's scores in float64."""


Ways = List[Tuple[Tuple[int, ...], Alignment]]
"""Label sequences with their best alignments, best first."""


@dataclass(frozen=True)
class Path:
    """A label sequence of a lattice, with its best alignment.

    Attributes:
        labels: output labels above 0: words, or tokens for a lattice of the CTC topology.
        tokens: the CTC tokens of the alignment, repetitions and blanks removed.
        am_score: acoustic score, unscaled, natural logarithm, as the following.
        lm_score: n-gram model's score.
        lexicon_score: lexicon's score.
        extra: further scores by name: ``attention``, ``nnlm``.
        arcs: the alignment: arcs of the FsaVec, so that ``lattice.frame[list(arcs)]`` are its
            frames.
    """

    labels: Tuple[int, ...]
    tokens: Tuple[int, ...]
    am_score: float
    lm_score: float
    lexicon_score: float
    extra: Dict[str, float] = field(default_factory=dict)
    arcs: Tuple[int, ...] = ()

    def score(self, scales: Scales) -> float:
        """The total score; the formula is that of :mod:`espnet_plugin.decode.scales`."""
        parts = (self.am_score, self.lm_score, self.lexicon_score)
        graph = scales.combine(*parts, len(self.labels))
        return graph + scales.combine_extra(self.extra)


def nbest_paths(
    lattice: k2.Fsa,
    num_paths: int,
    max_visits: int = MAX_VISITS,
    names: Optional[Sequence[str]] = None,
    max_arcs: int = MAX_ARCS,
) -> List[List[Path]]:
    """The best distinct label sequences of every lattice, exactly.

    A best-first search over output prefixes (Mohri & Riley 2002): the automaton of prefixes is
    made as far as needed, and the exact score of the best continuation guides it, so nothing
    but prefixes of the n best is ever expanded. A sequence counts as good as its best alignment
    by ``lattice.scores``. Equal scores come in the order of their labels.

    Of a lattice with more than 20,000 arcs those nearest to the best path are searched first,
    and five times as many as long as the list may lack something
    (:func:`~espnet_plugin.decode.rescore.nearest.nearest_arcs`), so the list is still exact.
    With more than ``max_arcs`` it may not be, and the log says so.

    Args:
        lattice: an FsaVec of top-sorted lattices with the attributes of
            :func:`espnet_plugin.decode.find_lattices`, on any device; the search is on the CPU.
        num_paths: the length of the lists; a lattice with fewer sequences gives all of them.
        max_visits: the work per lattice, in arcs followed (some 10⁶ per second). When it is
            spent, the list ends: what it holds are the best so many, and there is at least one.
        names: of the lattices, for the log.
        max_arcs: the most arcs of a lattice that are searched, some 10 µs and 500 bytes each.

    Returns:
        One list per lattice, best first; empty for a lattice without a path.

    Raises:
        ValueError: if ``num_paths`` is below 1, an attribute is missing or a lattice is not
            top-sorted.
    """
    if num_paths < 1:
        raise ValueError(f"num_paths must be 1 or above, not {num_paths}")
    reader, maker = PathReader(lattice), AutomatonMaker(lattice)
    large = any(b - a > FIRST_ARCS for a, b in pairwise(maker.first_arcs))
    distances = arc_distances(lattice) if large else None
    result = []
    for i in range(len(maker)):
        name = names[i] if names is not None else f"lattice {i}"
        found = _nearest(maker, i, distances, num_paths, max_visits, max_arcs, name)
        result.append([reader.path(i, labels, way) for labels, way in found])
    return result


def _nearest(
    maker: AutomatonMaker,
    i: int,
    distances: Optional[torch.Tensor],
    num_paths: int,
    max_visits: int,
    max_arcs: int,
    name: str,
) -> Ways:
    """The n best of one lattice, from as few of its arcs as suffice."""
    begin, end = maker.first_arcs[i : i + 2]
    count = min(FIRST_ARCS, max_arcs)
    while True:
        kept, margin = None, math.inf
        if distances is not None and end - begin > count:
            kept, margin = nearest_arcs(distances[begin:end], count)
        automaton = maker(i, kept)
        found = _search(automaton, num_paths, max_visits)
        if len(found) < num_paths and automaton.visits > max_visits:
            said = "%s: %d of the %d best paths, the rest is beyond max_visits=%d"
            logger.warning(said, name, len(found), num_paths, max_visits)
            return found
        worst = (found[0][1].score - found[-1][1].score) / UNIT if found else 0.0
        if margin == math.inf or (len(found) == num_paths and worst < margin - ROUNDING):
            return found
        if count >= max_arcs:
            logger.warning(
                "%s: the %d best paths of %d of its %d arcs, those nearest to its best path; "
                "paths that are worse than that by %.3g or more may be missing",
                name, len(found), max_arcs, end - begin, margin,
            )  # fmt: skip
            return found
        count = min(GROWTH * count, max_arcs)


def _search(automaton: PrefixAutomaton, num_paths: int, max_visits: int) -> Ways:
    found: Ways = []
    # (−score of the best completion, prefix, whether it is complete, subset or alignment);
    # no two entries agree in prefix and completeness, so the last is never compared.
    queue: List[Tuple[int, Tuple[int, ...], bool, Any]] = []
    # Scores of the best completions of all that was found or is in the queue, ascending, the
    # num_paths best of them. These are different sequences, so what is worse than the lowest
    # is not among the num_paths best.
    known: List[int] = []
    start = automaton.start()
    if start:
        known.append(automaton.best(start))
        queue.append((-known[0], (), False, start))
    while queue and len(found) < num_paths:
        if found and automaton.visits > max_visits:
            break
        negative, prefix, complete, reached = heappop(queue)
        if complete:
            found.append((prefix, reached))
            continue
        floor = known[0] if len(known) == num_paths else NONE
        closed = automaton.close(reached, floor)
        longer: List[Tuple[int, Tuple[int, ...], bool, Any]] = [
            (-automaton.best(subset), (*prefix, label), False, subset)
            for label, subset in automaton.extend(closed, floor).items()
        ]
        if automaton.final in closed:
            way = closed[automaton.final]
            longer.append((-way.score, prefix, True, way))
        # one of these is as good as the prefix, in whose place they come
        del known[bisect_left(known, -negative)]
        for entry in longer:
            insort(known, -entry[0])
            heappush(queue, entry)
        del known[:-num_paths]
    return found


def rank(nbest: Sequence[Sequence[Path]], scales: Scales) -> List[List[Path]]:
    """Every list by total score, best first; equal scores in the order of their labels."""
    return [sorted(paths, key=lambda path: (-path.score(scales), path.labels)) for paths in nbest]


def sampled_paths(lattice: k2.Fsa, num_paths: int, nbest_scale: float = 0.5) -> List[List[Path]]:
    """Distinct label sequences among paths that are drawn at random, as icefall and ESPnet do.

    ``k2.random_paths`` draws each path with its probability after the scores are multiplied by
    ``nbest_scale``; it draws the same paths whenever it is called. Each label sequence is given
    its best alignment in the whole lattice.

    Args:
        lattice: as for :func:`nbest_paths`.
        num_paths: how many paths are drawn; the lists are shorter, as most come up repeatedly.
        nbest_scale: 1 in ESPnet, 0.5 in icefall.

    Returns:
        One list per lattice, best first.
    """
    k2 = require_k2()
    scaled = lattice.clone()
    scaled.scores = lattice.scores * nbest_scale
    reader = PathReader(lattice)
    result: List[List[Path]] = []
    drawn = k2.random_paths(scaled, num_paths=num_paths, use_double_scores=True)
    labels = drawn_labels(lattice, drawn)
    maker = AutomatonMaker(lattice)
    for i in range(len(maker)):
        ways = align_labels(maker(i), sorted({tuple(sequence) for sequence in labels[i]}))
        ranked = sorted(ways.items(), key=lambda item: (-item[1].score, item[0]))
        result.append([reader.path(i, sequence, way) for sequence, way in ranked])
    return result


def drawn_labels(lattice: k2.Fsa, paths: k2.RaggedTensor) -> List[List[List[int]]]:
    """Output labels of paths (axes [lattice][path][arc]) that ``k2.random_paths`` gave."""
    k2 = require_k2()
    if isinstance(lattice.aux_labels, torch.Tensor):
        labels = k2.ragged.index(lattice.aux_labels.contiguous(), paths)
    else:
        labels = lattice.aux_labels.index(paths)
        labels = labels.remove_axis(labels.num_axes - 2)
    return labels.remove_values_leq(0).tolist()


def align_labels(
    automaton: PrefixAutomaton, sequences: Sequence[Tuple[int, ...]]
) -> Dict[Tuple[int, ...], Alignment]:
    """The best alignment of each label sequence; one that the lattice does not have is left out.

    Args:
        automaton: the lattice.
        sequences: in lexicographic order, so that common prefixes are followed once.
    """
    found: Dict[Tuple[int, ...], Alignment] = {}
    start = automaton.start()
    if not start:
        return found
    closed = automaton.close(start)
    stack: List[Tuple[Subset, Dict[int, Subset]]] = [(closed, automaton.extend(closed))]
    previous: Tuple[int, ...] = ()
    for sequence in sequences:
        shared = 0
        while shared < min(len(sequence), len(previous), len(stack) - 1) and (
            sequence[shared] == previous[shared]
        ):
            shared += 1
        del stack[shared + 1 :]
        for label in sequence[shared:]:
            subset = stack[-1][1].get(label)
            if subset is None:
                break
            closed = automaton.close(subset)
            stack.append((closed, automaton.extend(closed)))
        previous = sequence[: len(stack) - 1]
        if len(previous) == len(sequence) and automaton.final in stack[-1][0]:
            found[sequence] = stack[-1][0][automaton.final]
    return found


class PathReader:
    """Reads the parts of the scores, and the tokens, along alignments of an FsaVec.

    The tokens are those of the arcs' attribute ``tokens`` (what the topology H put out) where
    the lattice has it. Otherwise repetitions of frames' labels are joined and blanks left out,
    which is right for the standard topology, where equal tokens have a blank between them.
    """

    def __init__(self, lattice: k2.Fsa) -> None:
        check_parts(lattice)
        parts = (lattice.am_scores, lattice.lm_scores, lattice.lexicon_scores)
        self.parts = [part.detach().cpu().numpy() for part in parts]
        self.exact = isinstance(getattr(lattice, "tokens", None), torch.Tensor)
        self.labels = (lattice.tokens if self.exact else lattice.labels).cpu().numpy()
        self.first_arcs = lattice_bounds(lattice)[1]

    def path(self, number: int, labels: Tuple[int, ...], way: Alignment) -> Path:
        """The path of lattice ``number`` with these labels and this alignment."""
        arcs = [self.first_arcs[number] + arc for arc in way.arcs()]
        symbols = self.labels[arcs].tolist()
        if not self.exact:
            symbols = [symbol for symbol, _ in groupby(symbols)]
        am, lm, lexicon = (float(part[arcs].sum(dtype=np.float64)) for part in self.parts)
        tokens = tuple(symbol for symbol in symbols if symbol > 0)
        return Path(labels, tokens, am, lm, lexicon, arcs=tuple(arcs))
