"""H∘LG written down at once: the frames of tokens around an epsilon-free LG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Tuple, Union

import numpy as np
import torch

from espnet_plugin.decode.graph.graph import make_fsa
from espnet_plugin.decode.graph.topology import check_topology
from espnet_plugin.decode.graph.transducer import Bools, Floats, Ints, Transducer, ranges

if TYPE_CHECKING:
    import k2

MAX_ARCS = 2**31 - 1


def expand(graph: Transducer, vocab_size: int, topology: str) -> k2.Fsa:
    """Compose the CTC topology with an epsilon-free transducer from tokens to words.

    A state of the result is a state s of ``graph`` after a blank (or at the start), or the pair
    of s with the token t of an arc that entered it, where frames of t may go on. A pair is left

    * with a blank to s, or with a copy of each arc of s whose token is not t, if t is the only
      token that leads to s, or if an arc with t leaves s, which a blank must precede;
    * otherwise, and always if the topology is ``modified``, on the last frame of t towards s.
      There are no copies then, however many tokens lead to s (as to the state of the lowest
      order of a grammar, which has thousands of arcs).

    Every sequence of frames has the same paths with the same scores as in k2's composition of
    :func:`ctc_topology` with ``graph``.

    Args:
        graph: LG or L without epsilons.
        vocab_size: V, the blank included.
        topology: "standard" or "modified".

    Returns:
        An arc-sorted transducer as :class:`Graph` describes it.

    Raises:
        ValueError: an unknown topology, or a graph beyond k2's 2³¹ − 1 arcs.
    """
    check_topology(topology)
    arcs, states = graph.arcs, graph.num_states
    pairs, pair_of_arc = np.unique(arcs.target * vocab_size + arcs.token, return_inverse=True)
    pair_state, pair_token = pairs // vocab_size, pairs % vocab_size
    if topology == "modified":
        copies = np.zeros(len(pairs), dtype=bool)
    else:
        only = np.bincount(pair_state, minlength=states)[pair_state] == 1
        copies = only | np.isin(pairs, arcs.source * vocab_size + arcs.token)

    # A "move" is an arc of the graph taken from a state of the result, with its first frame.
    origin, move = _copied_arcs(graph, pair_state, pair_token, copies, vocab_size)
    origin = np.concatenate([arcs.source, origin + states])
    move = np.concatenate([np.arange(len(arcs)), move])
    single = np.flatnonzero(~copies[pair_of_arc[move]])  # tokens that may be one frame long
    numbers = np.arange(len(pairs))
    finals = graph.finals
    final_pair, final_row = _copied_finals(graph, pair_state, copies)
    final_row = np.concatenate([np.arange(len(finals)), final_row])
    final_from = np.concatenate([finals.state, final_pair + states])
    end = states + len(pairs)

    blocks = [  # source, target, label, arc of the graph
        (np.arange(states), np.arange(states), np.zeros(states, dtype=np.int64), None),
        (origin, pair_of_arc[move] + states, arcs.token[move], move),
        (origin[single], arcs.target[move[single]], arcs.token[move[single]], move[single]),
        (numbers + states, numbers + states, pair_token, None),
        (numbers + states, pair_state, np.where(copies, 0, pair_token), None),
    ]
    total = sum(len(block[0]) for block in blocks) + len(final_from)
    if total > MAX_ARCS:
        raise ValueError(
            f"the graph would have {total} arcs and k2 numbers them with 31 bits: prune the "
            f"language model, or use the modified topology"
        )
    source = np.concatenate([*(block[0] for block in blocks), final_from])
    target = np.concatenate([*(block[1] for block in blocks), np.full(len(final_from), end)])
    label = np.concatenate([*(block[2] for block in blocks), np.full(len(final_from), vocab_size)])

    def fill(column: Union[Ints, Floats], last: Union[Ints, Floats], dtype: type) -> torch.Tensor:
        parts = [np.zeros(len(b[0]), dtype) if b[3] is None else column[b[3]] for b in blocks]
        return torch.from_numpy(np.concatenate([*parts, last]).astype(dtype)[order])

    order = np.lexsort((target, source * (vocab_size + 1) + label))
    label[label == vocab_size] = -1
    table = np.zeros((total, 4), dtype=np.int32)
    for column, values in enumerate((source, target, label)):
        table[:, column] = values[order]
    return make_fsa(
        torch.from_numpy(table),
        fill(arcs.word, np.full(len(final_from), -1), np.int32),
        fill(arcs.lm, finals.lm[final_row], np.float32),
        fill(arcs.lexicon, finals.lexicon[final_row], np.float32),
    )


def _copied_arcs(
    graph: Transducer, pair_state: Ints, pair_token: Ints, copies: Bools, vocab_size: int
) -> Tuple[Ints, Ints]:
    by_source = np.argsort(graph.arcs.source, kind="stable")
    counts = np.bincount(graph.arcs.source, minlength=graph.num_states)
    starts = np.cumsum(counts) - counts
    chosen = np.flatnonzero(copies)
    owner, rows = ranges(starts[pair_state[chosen]], counts[pair_state[chosen]])
    origin, move = chosen[owner], by_source[rows]
    other = graph.arcs.token[move] != pair_token[origin]
    return origin[other], move[other]


def _copied_finals(graph: Transducer, pair_state: Ints, copies: Bools) -> Tuple[Ints, Ints]:
    by_state = np.argsort(graph.finals.state, kind="stable")
    counts = np.bincount(graph.finals.state, minlength=graph.num_states)
    starts = np.cumsum(counts) - counts
    chosen = np.flatnonzero(copies)
    owner, rows = ranges(starts[pair_state[chosen]], counts[pair_state[chosen]])
    return chosen[owner], by_state[rows]
