"""Rescore every path of a lattice with another n-gram model; the result is a lattice again.

As icefall's ``rescore_with_whole_lattice``, by a composition of our own on tables in the place of
``k2.intersect_device``: backoff arcs are followed only where a state lacks the word, so every
path of the lattice is there exactly once with the model's exact score, numbers are int64, and
the device is the lattice's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from espnet_plugin.compat import require_k2
from espnet_plugin.decode.rescore.grammar import END, GrammarTables
from espnet_plugin.decode.rescore.rebuild import prune, rebuild
from espnet_plugin.decode.scales import Scales, check_parts, set_scores

if TYPE_CHECKING:
    import k2

logger = logging.getLogger(__name__)

MAX_ARCS = 4_000_000


class _TooLarge(Exception):
    """The result would have more arcs than allowed."""


def whole_lattice_rescoring(
    lattice: k2.Fsa,
    grammar: GrammarTables,
    scales: Optional[Scales] = None,
    max_arcs: int = MAX_ARCS,
    names: Optional[Sequence[str]] = None,
) -> k2.Fsa:
    """Put the scores of another n-gram model in the place of a lattice's ``lm_scores``.

    Args:
        lattice: an FsaVec of top-sorted word lattices with the attributes of
            :func:`espnet_plugin.decode.find_lattices`; all its states are on complete paths.
        grammar: the model, on the device of the lattice. Words that it does not have keep their
            paths, see :meth:`GrammarTables.step`; the log says how many words that are.
        scales: the weights for ``scores``; all 1 if None.
        max_arcs: the most arcs that one composition may make. A batch that needs more is
            halved; one lattice that does is pruned by half its spread of scores, as often as
            it takes. So is one for which memory does not suffice.
        names: of the lattices, for the log.

    Returns:
        An FsaVec of as many lattices, top-sorted, with the same paths as before (unless one had
        to be pruned) and all attributes. States are (lattice state, state of G).

    Raises:
        ValueError: if an attribute is missing or a lattice is not top-sorted.
    """
    check_parts(lattice)
    count = lattice.shape[0]
    names = list(names) if names is not None else [f"lattice {i}" for i in range(count)]
    _report_missing(lattice, grammar)
    return set_scores(_rescore(lattice, grammar, max_arcs, names), scales or Scales())


def _rescore(
    lattice: k2.Fsa, grammar: GrammarTables, max_arcs: int, names: Sequence[str]
) -> k2.Fsa:
    k2 = require_k2()
    try:
        return _compose(lattice, grammar, max_arcs)
    except _TooLarge as error:
        reason = str(error)
    except RuntimeError as error:
        if "out of memory" not in str(error) and "can't allocate" not in str(error):
            raise
        reason = "out of memory"
    if len(names) > 1:
        half = len(names) // 2
        rows = torch.arange(len(names), dtype=torch.int32, device=lattice.device)
        parts = [
            _rescore(k2.index_fsa(lattice, part), grammar, max_arcs, some)
            for part, some in ((rows[:half], names[:half]), (rows[half:], names[half:]))
        ]
        return k2.cat(parts)
    smaller = prune(lattice, 0.5)
    if smaller.num_arcs == lattice.num_arcs:  # nothing but the best path, or equals of it
        return _compose(lattice, grammar, None)
    logger.warning(
        "%s: rescoring needs too much (%s); its lattice is pruned from %d to %d arcs",
        names[0],
        reason,
        lattice.num_arcs,
        smaller.num_arcs,
    )
    return _rescore(smaller, grammar, max_arcs, names)


def _report_missing(lattice: k2.Fsa, grammar: GrammarTables) -> None:
    labels = lattice.aux_labels
    values = labels if isinstance(labels, Tensor) else labels.values
    words = torch.unique(values[values > 0]).long()
    missing = words[~grammar.has(words)].tolist()
    if missing:
        logger.info(
            "%d of %d words of the lattices are not in the language model (ids %s)",
            len(missing),
            len(words),
            ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else ""),
        )


def _compose(lattice: k2.Fsa, grammar: GrammarTables, max_arcs: Optional[int]) -> k2.Fsa:
    shape, arcs = lattice.arcs.shape(), lattice.arcs.values().long()
    if bool((arcs[:, 0] >= arcs[:, 1]).any()):
        raise ValueError("the lattices are not sorted topologically: use k2.top_sort first")
    first_states = shape.row_splits(1).long()
    first_arcs = shape.row_splits(2).long()
    lattice_of_arc = shape.row_ids(1).long()[shape.row_ids(2).long()]
    destinations = arcs[:, 1] + first_states[lattice_of_arc]
    words, first_words = _words(lattice)
    levels = _levels(first_states, first_arcs, destinations)
    size = grammar.num_states
    # pairs to be expanded, by level; a pair is lattice state × size + state of G
    starts = first_states[:-1][first_states[:-1] < first_states[1:]]
    waiting: Dict[int, List[Tensor]] = {0: [starts * size]}
    pairs: List[Tensor] = []
    made: List[Tuple[Tensor, Tensor, Tensor, Tensor]] = []  # source, destination, arc, score
    total = 0
    while waiting:
        here = torch.unique(torch.cat(waiting.pop(min(waiting))))
        pairs.append(here)
        state = here // size
        fanout = first_arcs[state + 1] - first_arcs[state]
        row = torch.repeat_interleave(fanout)
        total += len(row)
        if max_arcs is not None and total > max_arcs:
            raise _TooLarge(f"more than max_arcs={max_arcs}")
        if not len(row):
            continue
        begin = fanout.cumsum(0) - fanout
        arc = first_arcs[state][row] + torch.arange(len(row), device=row.device) - begin[row]
        context, score = _read(grammar, here[row] % size, arc, words, first_words, arcs[:, 2])
        reached = destinations[arc] * size + context
        made.append((here[row], reached, arc, score))
        level = levels[destinations[arc]]
        for one in torch.unique(level).tolist():
            waiting.setdefault(one, []).append(reached[level == one])
    return _assemble(lattice, pairs, made, first_states * size, lattice_of_arc)


def _read(
    grammar: GrammarTables,
    context: Tensor,
    arc: Tensor,
    words: Tensor,
    first_words: Tensor,
    labels: Tensor,
) -> Tuple[Tensor, Tensor]:
    """Read the words of arcs, and the end on those to the final state, which has no context."""
    score = torch.zeros(len(arc), dtype=torch.float64, device=arc.device)
    position, end = first_words[arc], first_words[arc + 1]
    while True:
        some = torch.nonzero(position < end).flatten()
        if not len(some):
            break
        context[some], added = grammar.step(context[some], words[position[some]])
        score[some] += added
        position = position + 1
    final = torch.nonzero(labels[arc] < 0).flatten()
    _, added = grammar.step(context[final], context.new_full((len(final),), END))
    score[final] += added
    context[final] = 0
    return context, score


def _words(lattice: k2.Fsa) -> Tuple[Tensor, Tensor]:
    """All words of the arcs in order, and where those of each arc begin."""
    labels = lattice.aux_labels
    if isinstance(labels, Tensor):
        spoken = labels > 0
        counts, values = spoken.long(), labels[spoken]
    else:
        labels = labels.remove_values_leq(0)
        splits = labels.shape.row_splits(1).long()
        return labels.values.long(), splits
    return values.long(), torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _levels(first_states: Tensor, first_arcs: Tensor, destinations: Tensor) -> Tensor:
    """Per state the most arcs that lead to it, so that arcs go from lower to higher levels."""
    levels = [0] * int(first_states[-1])
    bounds, targets = first_arcs.tolist(), destinations.tolist()
    for state, level in enumerate(levels):
        for target in targets[bounds[state] : bounds[state + 1]]:
            if levels[target] <= level:
                levels[target] = level + 1
    return torch.tensor(levels, dtype=torch.int64, device=destinations.device)


def _assemble(
    lattice: k2.Fsa,
    pairs: List[Tensor],
    made: List[Tuple[Tensor, Tensor, Tensor, Tensor]],
    first_keys: Tensor,
    lattice_of_arc: Tensor,
) -> k2.Fsa:
    """Number the pairs in the order of the lattices' states and build the FsaVec."""
    states = torch.cat(pairs).sort().values
    state_splits = torch.searchsorted(states, first_keys)
    if not made:  # no lattice has an arc
        none = first_keys.new_zeros(0)
        return rebuild(lattice, none, none, none, state_splits, torch.zeros_like(first_keys))
    source, reached, arc, score = (torch.cat(column) for column in zip(*made, strict=True))
    source, order = source.sort(stable=True)
    reached, arc, score = reached[order], arc[order], score[order]
    offset = state_splits[lattice_of_arc[arc]]
    counts = torch.bincount(lattice_of_arc[arc], minlength=len(first_keys) - 1)
    fsa = rebuild(
        lattice,
        arc,
        torch.searchsorted(states, source) - offset,
        torch.searchsorted(states, reached) - offset,
        state_splits,
        torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
    )
    fsa.lm_scores = score.float()
    return fsa
