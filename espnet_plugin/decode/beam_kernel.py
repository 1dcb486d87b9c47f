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
SLACK = 1e-6
"""What rounding may do to a bound, and more."""


@njit(cache=True, nogil=True)
def grown(array, size):  # type: ignore[no-untyped-def]
    """``array`` with room for twice ``size`` elements."""
    larger = np.empty(2 * size, array.dtype)
    larger[:size] = array[:size]
    return larger


@njit(cache=True, nogil=True)
def find_label(arcs, first, end, label):  # type: ignore[no-untyped-def]
    """The first arc in ``first … end`` − 1 whose label is not below ``label``.

    Where there is one arc for each label from 0 on, it is found at once.
    """
    guess = first + label
    if guess < end and arcs[guess, LABEL] == label:
        if guess == first or arcs[guess - 1, LABEL] != label:
            return guess
    while first < end:
        middle = (first + end) // 2
        if 0 <= arcs[middle, LABEL] < label:
            first = middle + 1
        else:
            end = middle
    return first


@njit(cache=True, nogil=True)
def choose_labels(frame, least, likely):  # type: ignore[no-untyped-def]
    """Write the labels whose log posterior is at least ``least`` to ``likely``; their number."""
    count = 0
    for label in range(len(frame)):
        if frame[label] >= least:
            likely[count] = label
            count += 1
    return count


@njit(cache=True, nogil=True)
def span(arcs, low, high, label):  # type: ignore[no-untyped-def]
    """First and last + 1 of a state's arcs with a label; all of them where ``label`` is −1."""
    if label < 0:
        return low, high
    first = find_label(arcs, low, high, label)
    last = first
    while last < high and arcs[last, LABEL] == label:
        last += 1
    return first, last


@njit(cache=True, nogil=True)
def expand(  # type: ignore[no-untyped-def]
    row_splits, arcs, weights, heaviest, frame, top, likely, states, scores, width, slots, reached,
    reached_scores,
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
        slots: per state of the graph −1, and again so afterwards.
        reached, reached_scores: room.

    Returns:
        The number of states reached (some of them too bad after all), these states and their
        best scores, in larger arrays if need be.
    """
    best_node = np.argmax(scores)
    best = LOWEST
    state, score = states[best_node], scores[best_node]
    for arc in range(row_splits[state], row_splits[state + 1]):
        if arcs[arc, LABEL] < 0:
            break
        best = max(best, score + weights[arc, SCORE] + frame[arcs[arc, LABEL]])
    cutoff = max(LOWEST, best - width)
    num_likely = choose_labels(frame, cutoff - score - heaviest - SLACK, likely)
    count = 0
    for node in range(len(scores)):
        state, score = states[node], scores[node]
        if score + heaviest + top < cutoff - SLACK:
            continue
        low, high = row_splits[state], row_splits[state + 1]
        sparse = high - low > 4 * num_likely
        for i in range(num_likely if sparse else 1):
            first, last = span(arcs, low, high, likely[i] if sparse else -1)
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
                if slot >= 0:
                    reached_scores[slot] = max(reached_scores[slot], end_score)
                    continue
                if count == len(reached):
                    reached, reached_scores = grown(reached, count), grown(reached_scores, count)
                slots[target] = count
                reached[count], reached_scores[count] = target, end_score
                count += 1
    for slot in range(count):
        slots[reached[slot]] = -1
    return count, reached, reached_scores


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
    row_splits, arcs, weights, heaviest, log_probs, tops, acoustic, search_beam, least, most, slots,
    max_arcs,
):  # fmt: skip
    """The states that live on, frame by frame.

    A node is a state of the graph after a frame; node 0 is the start.

    Args:
        row_splits, arcs, weights, heaviest, slots: as in :func:`expand`.
        log_probs: (T, V) float32.
        tops: (T) their maxima.
        acoustic: their weight.
        search_beam, least, most: the beams.
        max_arcs: how many nodes may be recorded.

    Returns:
        Whether they were enough; states and scores of the nodes; the first node after each
        number of frames (T + 2).
    """
    num_frames, vocab = log_probs.shape
    states, scores = np.zeros(256, np.int32), np.zeros(256, np.float64)
    reached, reached_scores = np.empty(256, np.int32), np.empty(256, np.float64)
    first_node = np.zeros(num_frames + 2, np.int64)
    likely, frame = np.empty(vocab, np.int32), np.empty(vocab, np.float64)
    num_nodes, num_alive, width, enough = 1, 1, search_beam, True
    for t in range(num_frames):
        for label in range(vocab):
            frame[label] = acoustic * log_probs[t, label]
        alive = slice(first_node[t], num_nodes)
        width = adapted(width, search_beam, num_alive, least, most)
        count, reached, reached_scores = expand(
            row_splits, arcs, weights, heaviest, frame, acoustic * tops[t], likely, states[alive],
            scores[alive], width, slots, reached, reached_scores,
        )  # fmt: skip
        first_node[t + 1] = num_nodes
        enough = num_nodes + count <= max_arcs
        if count == 0 or not enough:
            first_node[t + 1 :] = num_nodes
            break
        cutoff, ties, num_alive = lowest_alive(reached_scores[:count], width, most)
        while num_nodes + count > len(states):
            states, scores = grown(states, len(states)), grown(scores, len(scores))
        for slot in range(count):
            score = reached_scores[slot]
            if score > cutoff or (score == cutoff and ties > 0):
                ties -= score == cutoff
                states[num_nodes], scores[num_nodes] = reached[slot], score
                num_nodes += 1
    first_node[num_frames + 1] = num_nodes
    return enough, states[:num_nodes], scores[:num_nodes], first_node


@njit(cache=True, nogil=True)
def search(  # type: ignore[no-untyped-def]
    row_splits, arcs, weights, heaviest, log_probs, tops, acoustic, search_beam, output_beam, least,
    most, slots, max_arcs,
):  # fmt: skip
    """The lattice of an utterance: the arcs between the nodes of :func:`forward` that matter.

    They are found from the last frame to the first: an arc's best complete path is the best one up
    to its source, and the best one from its target, which is known by then.

    Returns:
        Whether ``max_arcs`` were enough; (K, 4) int32 arcs of the lattice, with scores 0; its
        (S + 1) int32 row splits; and of every arc the arc of the graph, the frame (−1: to the
        final state) and the log posterior (float32). K is 0 if there is no path.
    """
    enough, states, scores, first_node = forward(
        row_splits, arcs, weights, heaviest, log_probs, tops, acoustic, search_beam, least, most,
        slots, max_arcs,
    )  # fmt: skip
    num_frames, vocab = log_probs.shape
    begin, final = first_node[num_frames], len(states)
    if not enough:
        begin = final
    best = LOWEST
    for node in range(begin, final):
        for arc in range(row_splits[states[node] + 1] - 1, row_splits[states[node]] - 1, -1):
            if arcs[arc, LABEL] >= 0:
                break
            best = max(best, scores[node] + weights[arc, SCORE])
    threshold = max(LOWEST, best - output_beam)

    remaining = np.full(final, -np.inf)
    sources, targets = np.empty(256, np.int32), np.empty(256, np.int32)
    chosen, frames = np.empty(256, np.int32), np.empty(256, np.int32)
    count = 0
    for node in range(final - 1, begin - 1, -1):
        for arc in range(row_splits[states[node] + 1] - 1, row_splits[states[node]] - 1, -1):
            weight = weights[arc, SCORE]
            if arcs[arc, LABEL] >= 0:
                break
            if scores[node] + weight >= threshold:
                remaining[node] = max(remaining[node], weight)
                if count == len(sources):
                    sources, targets = grown(sources, count), grown(targets, count)
                    chosen, frames = grown(chosen, count), grown(frames, count)
                sources[count], targets[count] = node, final
                chosen[count], frames[count] = arc, -1
                count += 1
    likely, frame = np.empty(vocab, np.int32), np.empty(vocab, np.float64)
    for t in range(num_frames - 1 if count else -1, -1, -1):
        for label in range(vocab):
            frame[label] = acoustic * log_probs[t, label]
        begin, middle, end = first_node[t], first_node[t + 1], first_node[t + 2]
        rest_of_best = LOWEST
        for node in range(middle, end):
            if remaining[node] > -np.inf:
                slots[states[node]] = node
                rest_of_best = max(rest_of_best, remaining[node])
        least_end = threshold - rest_of_best - heaviest - SLACK
        num_likely = choose_labels(frame, least_end - scores[begin:middle].max(), likely)
        top = acoustic * tops[t]
        for node in range(middle - 1, begin - 1, -1):
            state, score = states[node], scores[node]
            if score + top < least_end:
                continue
            low, high = row_splits[state], row_splits[state + 1]
            sparse = high - low > 4 * num_likely
            for i in range(num_likely - 1 if sparse else 0, -1, -1):
                first, last = span(arcs, low, high, likely[i] if sparse else -1)
                for arc in range(last - 1, first - 1, -1):
                    label = arcs[arc, LABEL]
                    target = slots[arcs[arc, TARGET]]
                    if label < 0 or target < 0:
                        continue
                    rest = weights[arc, SCORE] + frame[label] + remaining[target]
                    if not score + rest >= threshold:
                        continue
                    remaining[node] = max(remaining[node], rest)
                    if count == len(sources):
                        sources, targets = grown(sources, count), grown(targets, count)
                        chosen, frames = grown(chosen, count), grown(frames, count)
                    sources[count], targets[count] = node, target
                    chosen[count], frames[count] = arc, t
                    count += 1
        for node in range(middle, end):
            slots[states[node]] = -1
        if count > max_arcs:
            enough, count = False, 0
            break
    found = slice(0, count)
    return (enough, *lattice(
        arcs, log_probs, remaining, sources[found][::-1], targets[found][::-1],
        chosen[found][::-1], frames[found][::-1],
    ))  # fmt: skip


@njit(cache=True, nogil=True)
def lattice(arcs, log_probs, remaining, sources, targets, chosen, frames):  # type: ignore[no-untyped-def]
    """The kept arcs and nodes, numbered anew; see :func:`search`."""
    size = len(sources)
    number = np.empty(len(remaining) + 1, np.int32)
    num_states = 0
    for node in range(len(remaining)):
        number[node] = num_states
        num_states += remaining[node] > -np.inf
    number[-1] = num_states
    if size == 0:
        num_states = -1
    table = np.zeros((size, 4), np.int32)
    values = np.zeros(size, np.float32)
    splits = np.zeros(num_states + 2, np.int32)
    for i in range(size):
        label = arcs[chosen[i], LABEL]
        table[i, 0], table[i, TARGET] = number[sources[i]], number[targets[i]]
        table[i, LABEL] = label
        if frames[i] >= 0:
            values[i] = log_probs[frames[i], label]
        splits[table[i, 0] + 1] += 1
    for state in range(num_states + 1):
        splits[state + 1] += splits[state]
    return table, splits, chosen.copy(), frames.copy(), values
