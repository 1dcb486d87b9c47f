"""L∘G without epsilons: a prefix tree of pronunciations for each state of the grammar.

The textbook way (Mohri, Pereira, Riley 2002) composes L, with disambiguation symbols, and G,
determinises the result and removes its epsilons; for a large vocabulary the last two take most
of the time and memory. Here the same paths are written down directly:

* Each state g of the grammar has a prefix tree of the pronunciations of the words that leave it.
  A word is said on the arc of its last token, which leads from the tree to the next state.
* A backoff is no arc: the last arc of a word leads to the grammar's next state and, with the
  backoff's score added, to each state which that backs off to. So nothing is copied from the
  lower orders, where removing epsilons the other way would copy every first token of the
  vocabulary into every state.
* The score of a word is spread over its arcs: up to any node of the tree a path has the best
  score below that node (look-ahead; Ortmanns, Ney, Eiden 1996), so that the sum over the word is
  the word's own.
* Where a path of a tree no longer branches, the rest of the pronunciation is a chain that all
  states of the grammar share, one for each pronunciation and next state.

Optional silence stands at the start and after each word: with probability p a silence token,
with 1 − p none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, List, Tuple

import numpy as np

from espnet_plugin.decode.graph.grammar import state_backoffs
from espnet_plugin.decode.graph.transducer import Arcs, Finals, Floats, Ints, Transducer, ranges
from espnet_plugin.decode.lang.langdir import LangDir

if TYPE_CHECKING:
    import k2

_START = 0


def lexicon_grammar(lang: LangDir, grammar: k2.Fsa) -> Transducer:
    """Compose a lexicon and a grammar.

    Args:
        lang: pronunciations, their scores, and silence.
        grammar: an acceptor over ``lang``'s word ids, with at most one epsilon arc a state, and
            no cycle of these.

    Returns:
        A transducer from tokens to words. For each path through the grammar and choice of
        pronunciations and silences there is one path, with the scores of the two parts.

    Raises:
        ValueError: a grammar with other epsilon arcs than that.
    """
    table = _read(grammar)
    exits = _Exits(table, lang)
    said = _Said.in_order(table, lang)
    inner, ends = _trees(said, exits)
    arcs = Arcs.join([inner, exits.leave(ends), exits.silences()])
    return exits.with_start(arcs)


@dataclass(frozen=True)
class _Grammar:
    """G's arcs; and, as rows sorted by ``owner``, each state with all it backs off to."""

    num_states: int
    source: Ints
    target: Ints
    word: Ints
    lm: Floats
    final_state: Ints
    final_lm: Floats
    owner: Ints
    reached: Ints
    reached_lm: Floats


def _read(grammar: k2.Fsa) -> _Grammar:
    arcs = grammar.arcs.values().cpu().numpy().astype(np.int64)[:, :3]
    lm = grammar.scores.cpu().numpy().astype(np.float64)
    size = grammar.shape[0]
    words, ends = arcs[:, 2] > 0, arcs[:, 2] < 0
    backoff, penalty = (column.numpy() for column in state_backoffs(grammar))
    owner, reached, reached_lm = [np.arange(size)], [np.arange(size)], [np.zeros(size)]
    while len(owner[-1]):
        if len(owner) > size:
            raise ValueError("the grammar has a cycle of epsilon arcs")
        further = backoff[reached[-1]] >= 0
        last = reached[-1][further]
        reached_lm.append(reached_lm[-1][further] + penalty[last])
        owner.append(owner[-1][further])
        reached.append(backoff[last])
    owners = np.concatenate(owner)
    order = np.argsort(owners, kind="stable")
    return _Grammar(
        size,
        arcs[words, 0],
        arcs[words, 1],
        arcs[words, 2],
        lm[words],
        arcs[ends, 0],
        lm[ends],
        owners[order],
        np.concatenate(reached)[order],
        np.concatenate(reached_lm)[order],
    )


class _Exits:
    """The states between words: a start, a root for each state of G, and its silence."""

    def __init__(self, table: _Grammar, lang: LangDir) -> None:
        self.table, self.silence = table, lang.silence
        self.counts = np.bincount(table.owner, minlength=table.num_states)
        self.starts = np.cumsum(self.counts) - self.counts
        self.with_silence, self.without = -math.inf, 0.0
        if lang.silence is not None:
            self.with_silence = math.log(lang.silence_probability)
            self.without = math.log1p(-lang.silence_probability)
        self.first_free = 1 + table.num_states * (1 if lang.silence is None else 2)

    def root(self, states: Ints) -> Ints:
        return 1 + states

    def pause(self, states: Ints) -> Ints:
        return 1 + self.table.num_states + states

    def leave(self, ends: Arcs) -> Arcs:
        """Arcs whose target is a state of G, led to the roots and the silence of that state."""
        owner, rows = ranges(self.starts[ends.target], self.counts[ends.target])
        direct = ends.take(owner)
        direct = replace(
            direct,
            target=self.root(self.table.reached[rows]),
            lm=direct.lm + self.table.reached_lm[rows],
            lexicon=direct.lexicon + self.without,
        )
        if self.silence is None:
            return direct
        paused = replace(
            ends, target=self.pause(ends.target), lexicon=ends.lexicon + self.with_silence
        )
        return Arcs.join([direct, paused])

    def silences(self) -> Arcs:
        """The silence tokens; no arcs where the lexicon has none."""
        rows = np.arange(0 if self.silence is None else len(self.table.owner))
        return Arcs(
            self.pause(self.table.owner[rows]),
            self.root(self.table.reached[rows]),
            np.full(len(rows), self.silence or 0),
            np.zeros(len(rows), dtype=np.int64),
            self.table.reached_lm[rows],
            np.zeros(len(rows)),
        )

    def with_start(self, arcs: Arcs) -> Transducer:
        """The whole transducer: what leaves the first root, and what it backs off to, is
        copied to a start state, and so is its silence and its end."""
        table = self.table
        finals = Finals(self.root(table.final_state), table.final_lm, np.zeros(len(table.final_lm)))
        parts, ends = [arcs], [finals]
        for row in range(self.counts[0]):
            root, lm = self.root(table.reached[row]), table.reached_lm[row]
            parts.append(_moved(arcs.take(arcs.source == root), lm, self.without))
            final = finals.lm[finals.state == root]
            ends.append(
                Finals(np.full(len(final), _START), final + lm, np.full(len(final), self.without))
            )
        if self.silence is not None:
            out = arcs.take(arcs.source == self.pause(np.zeros(1, dtype=np.int64)))
            parts.append(_moved(out, 0.0, self.with_silence))
        joined, finals = Arcs.join(parts), Finals.join(ends)
        last = max(int(joined.target.max(initial=0)), int(finals.state.max(initial=0)))
        return Transducer(last + 1, joined, finals)


def _moved(arcs: Arcs, lm: float, lexicon: float) -> Arcs:
    return replace(
        arcs,
        source=np.full(len(arcs), _START),
        lm=arcs.lm + lm,
        lexicon=arcs.lexicon + lexicon,
    )


@dataclass(frozen=True)
class _Said:
    """What can be said from each state of G: pronunciations in lexicographic order.

    Attributes:
        state, target: (E) states of G.
        pron: (E) numbers of pronunciations.
        word, length: (E) their words and numbers of tokens.
        lm, lexicon: (E) scores.
        shared: (E) how many first tokens are also those of the neighbour that shares most.
        same: (E) how many first tokens are also those of the one before.
        tokens: (R, longest) tokens of all pronunciations, filled up with −1.
        num_states: states of G.
    """

    state: Ints
    target: Ints
    pron: Ints
    word: Ints
    length: Ints
    lm: Floats
    lexicon: Floats
    shared: Ints
    same: Ints
    tokens: Ints
    num_states: int

    @classmethod
    def in_order(cls, table: _Grammar, lang: LangDir) -> _Said:
        prons = lang.pronunciations
        tokens = prons.padded()
        rank = np.empty(len(prons), dtype=np.int64)
        rank[np.lexsort(tokens.T[::-1])] = np.arange(len(prons))
        by_word = np.argsort(prons.word, kind="stable")
        counts = np.bincount(prons.word, minlength=len(lang.words))
        starts = np.cumsum(counts) - counts
        arc, rows = ranges(starts[table.word], counts[table.word])
        pron = by_word[rows]
        order = np.argsort(table.source[arc] * len(prons) + rank[pron], kind="stable")
        arc, pron = arc[order], pron[order]
        state = table.source[arc]
        same = np.zeros(len(arc) + 1, dtype=np.int64)
        rows = np.flatnonzero(state[1:] == state[:-1]) + 1
        for place in range(tokens.shape[1]):
            here = tokens[pron[rows], place]
            rows = rows[(here == tokens[pron[rows - 1], place]) & (here >= 0)]
            same[rows] += 1
        return cls(
            state,
            table.target[arc],
            pron,
            prons.word[pron],
            prons.length[pron],
            table.lm[arc],
            prons.log_prob[pron],
            np.maximum(same[:-1], same[1:]),
            same[:-1],
            tokens,
            table.num_states,
        )


def _trees(said: _Said, exits: _Exits) -> Tuple[Arcs, Arcs]:
    """The arcs within words, and those that end words, with G's states as their targets."""
    chains = _Chains(said, exits.first_free)
    inner, ends = chains.arcs()
    free = chains.first_free
    state = exits.root(said.state)
    lm, lexicon = np.zeros(len(state)), np.zeros(len(state))  # given out on the way to ``state``
    rows = np.arange(len(state))  # those whose path is still in the tree
    inners: List[Arcs] = [inner]
    all_ends: List[Arcs] = [ends]
    for depth in range(1, said.tokens.shape[1] + 1):
        last = rows[said.length[rows] == depth]
        all_ends.append(
            Arcs(
                state[last],
                said.target[last],
                said.tokens[said.pron[last], depth - 1],
                said.word[last],
                said.lm[last] - lm[last],
                said.lexicon[last] - lexicon[last],
            )
        )
        rows = rows[said.length[rows] > depth]
        alone = rows[said.shared[rows] < depth]
        inners.append(
            Arcs(
                state[alone],
                chains.node(alone, depth),
                said.tokens[said.pron[alone], depth - 1],
                np.zeros(len(alone), dtype=np.int64),
                said.lm[alone] - lm[alone],
                said.lexicon[alone] - lexicon[alone],
            )
        )
        rows = rows[said.shared[rows] >= depth]
        if not len(rows):
            continue
        # A node is a run of neighbours with the same first ``depth`` tokens.
        new = np.ones(len(rows), dtype=bool)
        new[1:] = (np.diff(rows) > 1) | (said.same[rows[1:]] < depth)
        first, node = np.flatnonzero(new), np.cumsum(new) - 1
        best_lm = np.maximum.reduceat(said.lm[rows], first)
        best_lexicon = np.maximum.reduceat(said.lexicon[rows], first)
        head = rows[first]
        inners.append(
            Arcs(
                state[head],
                free + np.arange(len(first)),
                said.tokens[said.pron[head], depth - 1],
                np.zeros(len(first), dtype=np.int64),
                best_lm - lm[head],
                best_lexicon - lexicon[head],
            )
        )
        state[rows], lm[rows], lexicon[rows] = free + node, best_lm[node], best_lexicon[node]
        free += len(first)
    return Arcs.join(inners), Arcs.join(all_ends)


class _Chains:
    """The unbranched rests of pronunciations, one chain for each and next state of G."""

    def __init__(self, said: _Said, first_free: int) -> None:
        self.said, depth = said, said.shared + 1
        rows = np.flatnonzero(said.length > depth)
        key = said.pron[rows] * said.num_states + said.target[rows]
        order = np.lexsort((depth[rows], key))
        rows, key = rows[order], key[order]
        new = np.ones(len(rows), dtype=bool)
        new[1:] = key[1:] != key[:-1]
        self.of_row = np.full(len(said.pron), -1)
        self.of_row[rows] = np.cumsum(new) - 1
        self.example = rows[new]  # of the entries of a chain one that enters first
        self.depth = depth[self.example]
        self.counts = said.length[self.example] - self.depth
        self.starts = first_free + np.cumsum(self.counts) - self.counts
        self.first_free = first_free + int(self.counts.sum())

    def node(self, rows: Ints, depth: int) -> Ints:
        """The nodes after ``depth`` tokens of these entries."""
        chain = self.of_row[rows]
        return self.starts[chain] + depth - self.depth[chain]

    def arcs(self) -> Tuple[Arcs, Arcs]:
        """Those between the nodes, and the last ones, with G's states as their targets."""
        said = self.said
        chain, place = ranges(self.depth, self.counts)
        entry = self.example[chain]
        last = place == said.length[entry] - 1
        source = self.starts[chain] + place - self.depth[chain]
        zeros = np.zeros(len(chain))
        arcs = Arcs(
            source,
            np.where(last, said.target[entry], source + 1),
            said.tokens[said.pron[entry], place],
            np.where(last, said.word[entry], 0),
            zeros,
            zeros,
        )
        return arcs.take(~last), arcs.take(last)
