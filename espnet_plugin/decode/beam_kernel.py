"""The inner loops of the search on the CPU, compiled by numba; none holds Python's lock.

Arcs of a graph are rows of four 32-bit numbers, as in k2: source, target, label and the bits of
a float32 score. They are read as integers (``arcs``) and as floats (``weights``) of one memory.
"""

from __future__ import annotations

import numpy as np
from numba import njit

TARGET, LABEL, SCORE = 1, 2, 3
LOWEST = -1.7e308
"""Below every score of a path; −∞ is not above it."""


@njit(cache=True, nogil=True)
def grown(array, size):  # type: ignore[no-untyped-def]
    """``array`` with room for twice ``size`` elements."""
    larger = np.empty(2 * size, array.dtype)
    larger[:size] = array[:size]
    return larger


@njit(cache=True, nogil=True)
def find_label(arcs, low, first, end, label):  # type: ignore[no-untyped-def]
    """The first arc in ``first … end`` − 1 whose label is not below ``label``.

    Where a state ``low … end`` has one arc for each label from 0 on, it is found at once.
    """
    guess = low + label
    if guess < end and arcs[guess, LABEL] == label:
        if guess == low or arcs[guess - 1, LABEL] != label:
            return guess
    while first < end:
        middle = (first + end) // 2
        if 0 <= arcs[middle, LABEL] < label:
            first = middle + 1
        else:
            end = middle
    return first


@njit(cache=True, nogil=True)
def expand(  # type: ignore[no-untyped-def]
    row_splits, arcs, weights, heaviest, frame, top, likely, states, scores, width, output_beam,
    slots, found, max_arcs,
):  # fmt: skip
    """Follow the arcs of a frame whose end is within ``width`` of the best end.

    Args:
        row_splits: of the arcs by state.
        arcs, weights: of the graph, sorted by label (−1 last) within a state.
        heaviest: no arc's score is above it.
        frame: (V) float64 log posteriors.
        top: the highest of them.
        likely: (V) int32 room for labels.
        states, scores: of the nodes that are alive before the frame.
        width: of the beam.
        output_beam: an arc that is so much worse than another to the same state has no part in
            the lattice.
        slots: per state of the graph −1; afterwards the places of the states that were
            reached are in it, which :func:`release` clears.
        found: what an earlier call returned last: room that is used again.
        max_arcs: it ends when it has followed more arcs.

    Returns:
        The number of states reached, the number of arcs followed (among them some whose end
        is too bad after all), and ``found``: reached states and their best scores; source
        (counted in ``states``), arc, slot and score of the arcs followed, by source.
    """
    reached, reached_scores, sources, followed, ends, end_scores = found
    best_node = 0
    for node in range(len(scores)):
        if scores[node] > scores[best_node]:
            best_node = node
    best = LOWEST
    state, score = states[best_node], scores[best_node]
    for arc in range(row_splits[state], row_splits[state + 1]):
        if arcs[arc, LABEL] < 0:
            break
        best = max(best, score + weights[arc, SCORE] + frame[arcs[arc, LABEL]])
    cutoff = max(LOWEST, best - width)
    num_likely = 0
    for label in range(len(frame)):  # only these can end within the beam
        if score + heaviest + frame[label] >= cutoff:
            likely[num_likely] = label
            num_likely += 1
    num_reached, num_followed = 0, 0
    for node in range(len(scores)):
        state, score = states[node], scores[node]
        if not score + heaviest + top >= cutoff:
            continue
        low, high = row_splits[state], row_splits[state + 1]
        sparse = high - low > 4 * num_likely
        after = low
        for i in range(num_likely if sparse else 1):
            first, last = low, high
            if sparse:
                if not score + heaviest + frame[likely[i]] >= cutoff:
                    continue
                first = find_label(arcs, low, after, high, likely[i])
                last = first
                while last < high and arcs[last, LABEL] == likely[i]:
                    last += 1
                after = last
            for arc in range(first, last):
                label = arcs[arc, LABEL]
                if label < 0:
                    break
                end_score = score + weights[arc, SCORE] + frame[label]
                if not end_score >= cutoff:
                    continue
                if end_score > best:
                    best = end_score
                    cutoff = max(LOWEST, best - width)
                target = arcs[arc, TARGET]
                slot = slots[target]
                if slot < 0:
                    slot = num_reached
                    slots[target] = slot
                    if slot == len(reached):
                        reached, reached_scores = grown(reached, slot), grown(reached_scores, slot)
                    reached[slot], reached_scores[slot] = target, end_score
                    num_reached += 1
                elif end_score > reached_scores[slot]:
                    reached_scores[slot] = end_score
                elif end_score < reached_scores[slot] - output_beam:
                    continue
                if num_followed == len(followed):
                    sources = grown(sources, num_followed)
                    followed = grown(followed, num_followed)
                    ends = grown(ends, num_followed)
                    end_scores = grown(end_scores, num_followed)
                sources[num_followed], followed[num_followed] = node, arc
                ends[num_followed], end_scores[num_followed] = slot, end_score
                num_followed += 1
                if num_followed > max_arcs:
                    found = (reached, reached_scores, sources, followed, ends, end_scores)
                    return num_reached, num_followed, found
    found = (reached, reached_scores, sources, followed, ends, end_scores)
    return num_reached, num_followed, found


@njit(cache=True, nogil=True)
def release(slots, reached, count):  # type: ignore[no-untyped-def]
    """Set ``slots`` back to −1."""
    for i in range(count):
        slots[reached[i]] = -1


@njit(cache=True, nogil=True)
def adapted(width, search_beam, alive, least, most):  # type: ignore[no-untyped-def]
    """The beam of a frame by k2's rule, from the last one's and the number of live states."""
    if alive > most:
        return 0.8 * min(width, search_beam)
    if alive < least:
        return 1.25 * max(width, search_beam)
    return 0.8 * width + 0.2 * search_beam


@njit(cache=True, nogil=True)
def lowest_alive(scores, width, most):  # type: ignore[no-untyped-def]
    """Which of the states that were reached stay alive.

    Returns:
        The lowest score that does, how many states of exactly that score do, and how many
        states are within the beam.
    """
    best, within = LOWEST, 0
    for score in scores:
        best = max(best, score)
    for score in scores:
        within += score >= best - width
    if within <= most:
        return best - width, within, within
    cutoff = np.partition(scores, len(scores) - most)[len(scores) - most]
    for score in scores:
        most -= score > cutoff
    return cutoff, most, within


@njit(cache=True, nogil=True)
def forward(  # type: ignore[no-untyped-def]
    row_splits, arcs, weights, heaviest, log_probs, tops, acoustic, search_beam, output_beam, least,
    most, slots, max_arcs,
):  # fmt: skip
    """Search an utterance.

    A node is a state of the graph after a frame; node 0 is the start.

    Args:
        row_splits, arcs, weights, heaviest, slots: as in :func:`expand`.
        log_probs: (T, V) float32.
        tops: (T) their maxima.
        acoustic: their weight.
        search_beam, output_beam, least, most: the beams.
        max_arcs: how many arcs may be recorded, and be followed in one frame.

    Returns:
        Whether they were enough; states and scores of the nodes; the first node after each
        number of frames (T + 2); source, target and graph arc of the recorded arcs; the first
        of each frame (T + 1).
    """
    num_frames, vocab = log_probs.shape
    states, scores = np.zeros(256, np.int32), np.zeros(256, np.float64)
    sources, targets = np.empty(1024, np.int32), np.empty(1024, np.int32)
    chosen = np.empty(1024, np.int32)
    first_node = np.zeros(num_frames + 2, np.int64)
    first_arc = np.zeros(num_frames + 1, np.int64)
    found = (
        np.empty(256, np.int32), np.empty(256, np.float64), np.empty(1024, np.int32),
        np.empty(1024, np.int32), np.empty(1024, np.int32), np.empty(1024, np.float64),
    )  # fmt: skip
    likely, frame = np.empty(vocab, np.int32), np.empty(vocab, np.float64)
    num_nodes, num_arcs, num_alive, width, enough = 1, 0, 1, search_beam, True
    for t in range(num_frames):
        for label in range(vocab):
            frame[label] = acoustic * log_probs[t, label]
        alive = slice(first_node[t], num_nodes)
        width = adapted(width, search_beam, num_alive, least, most)
        num_reached, num_followed, found = expand(
            row_splits, arcs, weights, heaviest, frame, acoustic * tops[t], likely, states[alive],
            scores[alive], width, output_beam, slots, found, max_arcs,
        )  # fmt: skip
        release(slots, found[0], num_reached)
        enough = num_arcs + num_followed <= max_arcs
        reached, reached_scores, followed_from, followed, ends, end_scores = found
        first_node[t + 1] = num_nodes
        if num_reached == 0 or not enough:
            first_node[t + 1 :] = num_nodes
            break
        cutoff, ties, num_alive = lowest_alive(reached_scores[:num_reached], width, most)
        node_of = reached  # the states are copied before their places are taken
        while num_nodes + num_reached > len(states):
            states, scores = grown(states, len(states)), grown(scores, len(scores))
        for slot in range(num_reached):
            score, state = reached_scores[slot], reached[slot]
            node_of[slot] = -1
            if score > cutoff or (score == cutoff and ties > 0):
                ties -= score == cutoff
                states[num_nodes], scores[num_nodes] = state, score
                node_of[slot] = num_nodes
                num_nodes += 1
        while num_arcs + num_followed > len(sources):
            sources = grown(sources, len(sources))
            targets = grown(targets, len(targets))
            chosen = grown(chosen, len(chosen))
        for i in range(num_followed):
            node, score = node_of[ends[i]], end_scores[i]
            if node >= 0 and score >= cutoff and score >= scores[node] - output_beam:
                sources[num_arcs], targets[num_arcs] = first_node[t] + followed_from[i], node
                chosen[num_arcs] = followed[i]
                num_arcs += 1
        first_arc[t + 1] = num_arcs
    first_node[num_frames + 1] = num_nodes
    nodes = slice(0, num_nodes)
    recorded = slice(0, num_arcs)
    return (
        enough, states[nodes], scores[nodes], first_node, sources[recorded], targets[recorded],
        chosen[recorded], first_arc,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def search(  # type: ignore[no-untyped-def]
    row_splits, arcs, weights, heaviest, log_probs, tops, acoustic, search_beam, output_beam, least,
    most, slots, max_arcs,
):  # fmt: skip
    """The lattice of an utterance: :func:`forward`, and what is far from the best path cut out.

    Returns:
        Whether ``max_arcs`` were enough; (K, 4) int32 arcs of the lattice, with scores 0; its
        (S + 1) int32 row splits; and of every arc the arc of the graph, the frame (−1: to the
        final state) and the log posterior (float32). K is 0 if there is no path.
    """
    enough, states, scores, first_node, sources, targets, chosen, first_arc = forward(
        row_splits, arcs, weights, heaviest, log_probs, tops, acoustic, search_beam, output_beam,
        least, most, slots, max_arcs,
    )  # fmt: skip
    num_frames = len(log_probs)
    begin, final = first_node[num_frames], len(states)
    best, num_finals = LOWEST, 0
    for node in range(begin, final):
        arc = row_splits[states[node] + 1] - 1
        while arc >= row_splits[states[node]] and arcs[arc, LABEL] < 0:
            best = max(best, scores[node] + weights[arc, SCORE])
            num_finals += 1
            arc -= 1
    if not enough:
        num_finals = 0
    threshold = max(LOWEST, best - output_beam)

    # Backwards; what is kept moves to the end of its array.
    remaining = np.full(final, -np.inf)
    final_nodes, final_arcs = np.empty(num_finals, np.int32), np.empty(num_finals, np.int32)
    kept_finals = 0
    for node in range(begin, final if num_finals else begin):
        arc = row_splits[states[node] + 1] - 1
        while arc > row_splits[states[node]] and arcs[arc - 1, LABEL] < 0:
            arc -= 1
        while arc >= row_splits[states[node]] and arc < row_splits[states[node] + 1]:
            weight = weights[arc, SCORE]
            if arcs[arc, LABEL] < 0 and scores[node] + weight >= threshold:
                remaining[node] = max(remaining[node], weight)
                final_nodes[kept_finals], final_arcs[kept_finals] = node, arc
                kept_finals += 1
            arc += 1
    kept = len(sources)
    frames = np.empty(len(sources), np.int32)
    for t in range(num_frames - 1 if num_finals else -1, -1, -1):
        for i in range(first_arc[t + 1] - 1, first_arc[t] - 1, -1):
            arc, source, target = chosen[i], sources[i], targets[i]
            rest = (
                remaining[target]
                + weights[arc, SCORE]
                + np.float64(acoustic * log_probs[t, arcs[arc, LABEL]])
            )
            if scores[source] + rest >= threshold:
                remaining[source] = max(remaining[source], rest)
                kept -= 1
                sources[kept], targets[kept], chosen[kept], frames[kept] = source, target, arc, t

    return (enough, *lattice(
        arcs, log_probs, remaining, sources[kept:], targets[kept:], chosen[kept:], frames[kept:],
        final_nodes[:kept_finals], final_arcs[:kept_finals],
    ))  # fmt: skip


@njit(cache=True, nogil=True)
def lattice(  # type: ignore[no-untyped-def]
    arcs, log_probs, remaining, sources, targets, chosen, frames, final_nodes, final_arcs,
):  # fmt: skip
    """The kept arcs and nodes, numbered anew; see :func:`search`."""
    inner = len(sources)
    size = inner + len(final_nodes)
    number = np.empty(len(remaining), np.int32)
    num_states = 0
    for node in range(len(remaining)):
        number[node] = num_states
        num_states += remaining[node] > -np.inf
    if size == 0:
        num_states = -1
    table = np.zeros((size, 4), np.int32)
    graph_arcs, times = np.empty(size, np.int32), np.full(size, np.int32(-1))
    values = np.zeros(size, np.float32)
    splits = np.zeros(num_states + 2, np.int32)
    for i in range(inner):
        label = arcs[chosen[i], LABEL]
        table[i, 0], table[i, TARGET] = number[sources[i]], number[targets[i]]
        table[i, LABEL] = label
        graph_arcs[i], times[i], values[i] = chosen[i], frames[i], log_probs[frames[i], label]
        splits[table[i, 0] + 1] += 1
    for i in range(len(final_nodes)):
        row = inner + i
        table[row, 0], table[row, TARGET] = number[final_nodes[i]], num_states
        table[row, LABEL] = -1
        graph_arcs[row] = final_arcs[i]
        splits[table[row, 0] + 1] += 1
    for state in range(num_states + 1):
        splits[state + 1] += splits[state]
    return table, splits, graph_arcs, times, values
