"""The search on the CPU against k2's, against brute force, and against itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")

from espnet_plugin.decode import (  # noqa: E402
    Beams,
    Scales,
    best_paths,
    ctc_topology,
    find_lattices,
    total_scores,
)
from espnet_plugin.decode.cpu_search import SearchGraph, cpu_search, search, warm_up  # noqa: E402
from espnet_plugin.decode.lattice import dense_fsa_vec, intersect, scaled_graph  # noqa: E402

WIDE = Beams(1e4, 1e4, 0, 1_000_000)
VOCAB = 5


def posteriors(batch: int, frames: int, vocab: int, seed: int, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(batch, frames, vocab, generator=generator)
    return torch.log_softmax(logits, dim=-1)


def lexicon(epsilon: bool) -> k2.Fsa:
    """Words 1 (tokens 1 2), 2 (1), 3 (3 4) and 4 (3, and with ``epsilon`` nothing after a 1)."""
    fsa = k2.Fsa.from_str(
        f"""
        0 1 1 1 -0.5
        0 0 1 2 -0.7
        0 2 3 3 -0.2
        0 0 3 4 -1.5
        0 3 -1 -1 0
        1 0 2 0 0
        {"1 0 0 4 -2.5" if epsilon else ""}
        2 0 4 0 0
        3
        """,
        acceptor=False,
    )
    return k2.arc_sort(fsa)


def grammar() -> k2.Fsa:
    return k2.arc_sort(
        k2.Fsa.from_str(
            """
            0 1 1 -1.0
            0 1 3 -0.4
            0 2 2 -2.0
            1 2 2 -0.3
            1 0 4 -0.9
            1 1 1 -1.7
            1 3 -1 -1.1
            2 0 3 -0.1
            2 3 -1 -0.6
            3
            """
        )
    )


def make_graph(kind: str) -> k2.Fsa:
    """A graph; its scores count as the n-gram model's."""
    if kind in ("standard", "modified"):
        fsa = ctc_topology(VOCAB, kind)
    else:
        other = lexicon(epsilon=kind == "textbook")
        if kind == "textbook":
            other = k2.connect(k2.compose(other, grammar()))
            other = k2.arc_sort(k2.connect(k2.remove_epsilon(other)))
        else:
            if kind == "HLG":
                other = k2.arc_sort(k2.connect(k2.compose(other, grammar())))
        fsa = k2.compose(k2.arc_sort(k2.ctc_topo(VOCAB - 1)), other, inner_labels="tokens")
        fsa = k2.arc_sort(k2.connect(fsa))
    fsa.lm_scores = fsa.scores.clone()
    fsa.lexicon_scores = torch.zeros_like(fsa.scores)
    return fsa


KINDS = ("standard", "modified", "HL", "HLG", "textbook")
GRAPHS = {kind: make_graph(kind) for kind in KINDS}


def row(fsa: k2.Fsa, i: int) -> k2.Fsa:
    return k2.index_fsa(fsa, torch.tensor([i], dtype=torch.int32))


def arcs_of(fsa: k2.Fsa) -> list[tuple]:
    """All arcs of a lattice with all that they carry, without the states' numbers."""
    aux = fsa.aux_labels.tolist()
    columns = (fsa.frame, fsa.labels, fsa.am_scores, fsa.lm_scores, fsa.scores)
    return sorted(zip(*(c.tolist() for c in columns), map(str, aux), strict=True))


def check_same(one: k2.Fsa, other: k2.Fsa) -> None:
    """Two lattices have the same arcs, the same scores and the same paths."""
    assert arcs_of(one) == arcs_of(other)
    for log in (False, True):
        totals = [f.get_tot_scores(use_double_scores=True, log_semiring=log) for f in (one, other)]
        torch.testing.assert_close(*totals, rtol=1e-9, atol=1e-6)
    assert k2.is_rand_equivalent(one[0], other[0], log_semiring=False, delta=1e-3)


def test_graphs_are_what_they_should_be() -> None:
    assert isinstance(GRAPHS["textbook"].aux_labels, k2.RaggedTensor)
    assert all(isinstance(GRAPHS[kind].aux_labels, torch.Tensor) for kind in KINDS[:4])
    assert all(graph.num_arcs > 10 for graph in GRAPHS.values())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    impossible=st.booleans(),
    scales=st.sampled_from([Scales(), Scales(acoustic=0.5, hlg=1.5), Scales(word=1.0)]),
)
def test_without_beams_the_lattice_is_k2s(
    kind: str, seed: int, lengths: list[int], impossible: bool, scales: Scales
) -> None:
    log_probs = posteriors(len(lengths), max(lengths), VOCAB, seed)
    if impossible:
        generator = np.random.default_rng(seed)
        log_probs[torch.from_numpy(generator.random(log_probs.shape) < 0.25)] = -math.inf
    frames = torch.tensor(lengths)
    ours = intersect(GRAPHS[kind], log_probs, frames, WIDE, scales, "cpu")
    theirs = intersect(GRAPHS[kind], log_probs, frames, WIDE, scales, "k2")
    assert set(ours.utterances) == set(theirs.utterances)
    for place, i in enumerate(ours.utterances):
        check_same(row(ours.fsa, place), row(theirs.fsa, theirs.utterances.index(i)))
    if ours.fsa is None or scales != Scales():
        return
    dense, order = dense_fsa_vec(log_probs, frames)
    single = k2.create_fsa_vec([GRAPHS[kind]] * len(order))
    every = k2.intersect_dense(single, dense, 1e4)
    totals = total_scores(every).tolist()
    for i, total in zip(ours.utterances, total_scores(ours.fsa).tolist(), strict=True):
        assert total == pytest.approx(totals[order.index(i)], abs=1e-5)


def reference(
    graph: k2.Fsa, log_probs: torch.Tensor, beams: Beams
) -> tuple[set[tuple[int, int]], float, list[int]]:
    """The search written down as its description says: (frame, arc) pairs, best score, states."""
    arcs, weights = graph.arcs.values().tolist(), graph.scores.tolist()
    alive = {0: 0.0}
    followed: list[tuple[int, int, float]] = []
    history, counts, within, width = [alive], [], 1, beams.search_beam
    for t, row_ in enumerate(log_probs.tolist()):
        if within < beams.min_active_states:
            width = 1.25 * max(width, beams.search_beam)
        elif within > beams.max_active_states:
            width = 0.8 * min(width, beams.search_beam)
        else:
            width = 0.8 * width + 0.2 * beams.search_beam
        candidates = [
            (a, target, alive[source] + weights[a] + row_[label])
            for a, (source, target, label, _) in enumerate(arcs)
            if label >= 0 and source in alive and row_[label] > -math.inf
        ]
        reached: dict[int, float] = {}
        for _, target, score in candidates:
            reached[target] = max(score, reached.get(target, -math.inf))
        ranked = sorted(reached.values(), reverse=True) or [0.0]
        within = sum(s >= ranked[0] - width for s in ranked)
        cutoff = ranked[0] - width
        if within > beams.max_active_states:
            cutoff = ranked[beams.max_active_states - 1]
        alive = {s: v for s, v in reached.items() if v >= cutoff}
        followed += [(t, a, score) for a, target, score in candidates if target in alive]
        history.append(alive)
        counts.append(len(alive))
    rest = [dict.fromkeys(alive, -math.inf) for alive in history]
    ends = [(a, *arc) for a, arc in enumerate(arcs) if arc[2] < 0 and arc[0] in history[-1]]
    best = max((history[-1][s] + weights[a] for a, s, *_ in ends), default=-math.inf)
    kept: set[tuple[int, int]] = set()
    if best == -math.inf:
        return kept, best, counts
    for a, source, *_ in ends:
        rest[-1][source] = max(rest[-1][source], weights[a])
        if history[-1][source] + weights[a] >= best - beams.output_beam:
            kept.add((-1, a))
    for t, a, score in reversed(followed):
        source, target, label, _ = arcs[a]
        value = weights[a] + float(log_probs[t, label]) + rest[t + 1][target]
        rest[t][source] = max(rest[t][source], value)
        if score + rest[t + 1][target] >= best - beams.output_beam:
            kept.add((t, a))
    return kept, best, counts


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(1, 12),
    search_beam=st.sampled_from([0.5, 2.0, 5.0]),
    output_beam=st.sampled_from([0.3, 1.0, 4.0, 9.0]),
    states=st.sampled_from([(0, 2), (0, 1000), (3, 4), (30, 1000)]),
)
def test_beams_do_what_their_description_says(
    kind: str, seed: int, frames: int, search_beam: float, output_beam: float,
    states: tuple[int, int],
) -> None:  # fmt: skip
    graph = GRAPHS[kind].clone()
    graph.arc = torch.arange(graph.num_arcs, dtype=torch.int32)
    log_probs = posteriors(1, frames, VOCAB, seed, scale=3.0)
    beams = Beams(search_beam, output_beam, *states)
    expected, best, counts = reference(graph, log_probs[0], beams)
    assert max(counts) <= beams.max_active_states
    fsa, rows = cpu_search(graph, log_probs, torch.tensor([frames]), beams)
    if not expected:
        assert fsa is None and rows == []
        return
    assert set(zip(fsa.frame.tolist(), fsa.arc.tolist(), strict=True)) == expected
    assert len(expected) == fsa.num_arcs
    fsa.scores = fsa.am_scores + fsa.lm_scores
    total = fsa.get_tot_scores(use_double_scores=True, log_semiring=False)
    assert float(total) == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("search_beam", "least"), [(3.0, 0), (6.0, 5), (4.0, 30)])
def test_within_beams_the_lattice_is_k2s(kind: str, search_beam: float, least: int) -> None:
    log_probs = posteriors(4, 30, VOCAB, seed=9, scale=4.0)
    lengths = torch.tensor([30, 18, 7, 1])
    beams = Beams(search_beam, 2.45, least, 1000)
    found = [intersect(GRAPHS[kind], log_probs, lengths, beams, Scales(), e) for e in ("cpu", "k2")]
    ours, theirs = found
    assert set(ours.utterances) == set(theirs.utterances) and len(ours.utterances) > 1
    for place, i in enumerate(ours.utterances):
        check_same(row(ours.fsa, place), row(theirs.fsa, theirs.utterances.index(i)))


@pytest.mark.parametrize("kind", KINDS)
def test_best_paths_are_never_worse_than_k2s(kind: str) -> None:
    log_probs = posteriors(8, 40, VOCAB, seed=1, scale=6.0)
    lengths = torch.tensor([40, 33, 25, 21, 17, 9, 5, 2])
    beams = Beams(12.0, 4.0, 0, 1000)
    found = [intersect(GRAPHS[kind], log_probs, lengths, beams, Scales(), e) for e in ("cpu", "k2")]
    ours, theirs = (dict(zip(one.utterances, best_paths(one.fsa)[1], strict=True)) for one in found)
    assert set(theirs) <= set(ours) and len(theirs) > 4
    assert all(ours[i] >= theirs[i] - 1e-6 for i in theirs)


def test_a_batch_is_searched_as_its_utterances_are_and_on_any_number_of_threads() -> None:
    graph, vocab = ctc_topology(30), 30
    log_probs, sizes = posteriors(6, 50, vocab, seed=2), [50, 1, 44, 0, 30, 50]
    lengths = torch.tensor(sizes)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3, 2):
            torch.set_num_threads(threads)
            found.append(cpu_search(graph, log_probs, lengths, Beams()))
    finally:
        torch.set_num_threads(before)
    for fsa, rows in found:
        assert rows == [0, 1, 2, 4, 5]
        assert torch.equal(fsa.arcs.values(), found[0][0].arcs.values())
        assert torch.equal(fsa.frame, found[0][0].frame)
    for place, i in enumerate(found[0][1]):
        alone, _ = cpu_search(graph, log_probs[i : i + 1, : sizes[i]], lengths[i : i + 1], Beams())
        assert torch.equal(alone.arcs.values(), row(found[0][0], place).arcs.values())


def test_tied_states_stay_within_the_most() -> None:
    log_probs = torch.full((1, 6, 9), -math.log(9))
    beams = Beams(5.0, 50.0, 0, 3)
    fsa, _ = cpu_search(ctc_topology(9), log_probs, torch.tensor([6]), beams)
    targets = fsa.arcs.values()[:, 1]
    for t in range(6):
        assert 1 <= len(targets[fsa.frame == t].unique()) <= 3


def test_a_graph_that_is_not_sorted_gives_the_same() -> None:
    order = [[0, 1, 2, 0], [0, 1, 1, 0], [1, 1, 2, 0], [1, 1, 0, 0], [1, 2, -1, 0]]
    graph = k2.Fsa(torch.tensor(order, dtype=torch.int32))
    graph.aux_labels = graph.labels.clone()
    log_probs, lengths = posteriors(1, 6, 3, seed=4), torch.tensor([6])
    found = [intersect(graph, log_probs, lengths, WIDE, Scales(), e).fsa for e in ("cpu", "k2")]
    assert sorted(found[0].frame.tolist()) == sorted(found[1].frame.tolist())
    assert best_paths(found[0]) == best_paths(found[1])


def test_nothing_possible_and_nothing_there() -> None:
    log_probs = torch.full((2, 3, VOCAB), -math.inf)
    for lengths in ([3, 2], [0, 0]):
        fsa, rows = cpu_search(GRAPHS["HLG"], log_probs, torch.tensor(lengths), Beams())
        assert fsa is None and rows == []


def test_too_many_arcs_narrow_the_beams_of_that_utterance(monkeypatch, caplog) -> None:
    log_probs, graph = posteriors(2, 60, 40, seed=3, scale=1.0), ctc_topology(40)
    lengths = torch.tensor([60, 5])
    with pytest.raises(MemoryError, match="more than 1000 arcs"):
        cpu_search(graph, log_probs, lengths, Beams(), max_arcs=1000)
    whole = find_lattices(graph, log_probs, lengths)
    monkeypatch.setattr("espnet_plugin.decode.cpu_search._arcs_in_memory", lambda threads: 20_000)
    found = find_lattices(graph, log_probs, lengths, names=["long", "short"])
    assert sorted(found.utterances) == [0, 1] and not found.failed
    assert "long: too little memory; searching again with Beams" in caplog.text
    assert "short: too little" not in caplog.text
    paths = [
        dict(zip(one.utterances, best_paths(one.fsa)[0], strict=True)) for one in (whole, found)
    ]
    assert paths[0] == paths[1]


def test_after_the_warm_up_nothing_is_compiled() -> None:
    warm_up()
    compiled = list(search.signatures)
    cpu_search(GRAPHS["HLG"], posteriors(1, 4, VOCAB, 0), torch.tensor([4]), Beams())
    assert search.signatures == compiled and len(compiled) == 1


def test_a_graph_is_looked_through_again_when_its_scores_change() -> None:
    graph = GRAPHS["HLG"].clone()
    known = SearchGraph.of(graph)
    assert SearchGraph.of(graph) is known
    graph.scores = graph.scores + 5.0
    assert SearchGraph.of(graph).heaviest == pytest.approx(known.heaviest + 5.0)


def test_scaled_graphs_are_made_once() -> None:
    graph, scales = GRAPHS["HLG"], Scales(hlg=0.5)
    assert scaled_graph(graph, Scales()) is graph
    scaled = scaled_graph(graph, scales)
    assert scaled_graph(graph, Scales(acoustic=2.0, hlg=0.5)) is scaled
    torch.testing.assert_close(scaled.scores, 0.5 * graph.scores)
    assert scaled_graph(graph, Scales(hlg=0.7)) is not scaled
    counts = (graph.aux_labels > 0).float()
    torch.testing.assert_close(
        scaled_graph(graph, Scales(word=-2.0)).scores, graph.scores - 2 * counts
    )


def test_graphs_that_do_not_fit_are_refused() -> None:
    log_probs, lengths = posteriors(1, 3, VOCAB, 0), torch.tensor([3])
    with pytest.raises(ValueError, match="one graph, not 2"):
        cpu_search(k2.ctc_graph([[1], [2]]), log_probs, lengths, Beams())
    with pytest.raises(ValueError, match="the label 4"):
        cpu_search(ctc_topology(5), log_probs[:, :, :4], lengths, Beams())
