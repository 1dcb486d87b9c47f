"""n-best lists of large lattices: searched in part, and still exact."""

from __future__ import annotations

import logging
import math
from typing import List

import pytest
import torch

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from small_lattices import Small, small_lattices, to_fsa_vec  # noqa: E402

from espnet_plugin.decode import Scales, ctc_topology, find_lattices, set_scores  # noqa: E402
from espnet_plugin.decode.rescore import nbest as nbest_module  # noqa: E402
from espnet_plugin.decode.rescore.nbest import nbest_paths  # noqa: E402
from espnet_plugin.decode.rescore.nearest import arc_distances, nearest_arcs  # noqa: E402

SCALES = Scales(acoustic=0.5, hlg=2.0, lm=0.75)


@settings(max_examples=150, deadline=None)
@given(st.lists(small_lattices(), min_size=1, max_size=3))
def test_distances_equal_enumeration(lattices: List[Small]) -> None:
    lattice = set_scores(to_fsa_vec(lattices), SCALES)
    found = arc_distances(lattice).tolist()
    scores = iter(lattice.scores.tolist())
    expected: List[float] = []
    for small in lattices:
        arcs = sorted(small.arcs, key=lambda arc: arc.source)
        score = {id(arc): next(scores) for arc in arcs}
        paths = [(sum(score[id(arc)] for arc in path), path) for path in small.paths()]
        best = max((total for total, _ in paths), default=0.0)
        for arc in arcs:
            through = [total for total, path in paths if any(arc is other for other in path)]
            expected.append(best - max(through, default=-math.inf))
    assert [max(x, 0.0) for x in found] == pytest.approx(expected, abs=1e-4)
    assert all(
        y == pytest.approx(0.0, abs=1e-4) for x, y in zip(found, expected, strict=True) if x == -1.0
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(small_lattices(), min_size=1, max_size=3), st.integers(1, 9), st.integers(1, 8))
def test_a_list_from_few_arcs_is_that_of_all(
    lattices: List[Small], num_paths: int, first: int
) -> None:
    lattice = set_scores(to_fsa_vec(lattices), SCALES)
    expected = nbest_paths(lattice, num_paths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nbest_module, "FIRST_ARCS", first)
        patch.setattr(nbest_module, "GROWTH", 2)
        found = nbest_paths(lattice, num_paths)
    for ours, theirs in zip(found, expected, strict=True):
        assert [path.labels for path in ours] == [path.labels for path in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one.score(SCALES) == pytest.approx(other.score(SCALES), abs=1e-5)


def noise(sharpness: float, frames: int = 875, vocab: int = 60) -> k2.Fsa:
    """The lattice of 35 s in which nothing is likely."""
    generator = torch.Generator().manual_seed(0)
    scores = sharpness * torch.randn(1, frames, vocab, generator=generator)
    log_probs = torch.log_softmax(scores, dim=-1)
    return find_lattices(ctc_topology(vocab), log_probs, torch.tensor([frames])).fsa


def test_half_a_minute_of_noise(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    caplog.set_level(logging.WARNING)
    lattice = noise(1.0)
    assert lattice.num_arcs > 2_000_000
    sizes = []
    search = nbest_module._search

    def counting(automaton, *limits):
        sizes.append(sum(map(len, automaton.epsilon)) + sum(map(len, automaton.emitting)))
        return search(automaton, *limits)

    monkeypatch.setattr(nbest_module, "_search", counting)
    (paths,) = nbest_paths(lattice, 100)
    assert len({path.labels for path in paths}) == 100 and not caplog.text
    assert max(sizes) <= 100_000  # of three million
    best = k2.shortest_path(lattice, use_double_scores=True)
    assert list(paths[0].labels) == k2.get_aux_labels(best)[0]
    distances = arc_distances(lattice)
    _, margin = nearest_arcs(distances, max(sizes))
    totals = [path.score(Scales()) for path in paths]
    assert totals == sorted(totals, reverse=True) and totals[0] - totals[-1] < margin
    for path in paths[::20]:  # arcs of the lattice itself, from its start to its end
        arcs = torch.tensor(path.arcs)
        ends = lattice.arcs.values()[arcs, :2]
        assert ends[0, 0] == 0 and torch.equal(ends[1:, 0], ends[:-1, 1])
        assert int(lattice.labels[arcs[-1]]) == -1
        assert lattice.frame[arcs[:-1]].tolist() == list(range(875))
        assert path.am_score == pytest.approx(float(lattice.am_scores[arcs].double().sum()))


def test_equal_scores_without_end_are_cut_and_logged(caplog) -> None:
    """No order of nearness exists where every path is as good as any other."""
    caplog.set_level(logging.WARNING)
    lattice = noise(0.0, frames=100, vocab=30)
    (paths,) = nbest_paths(lattice, 20, names=["silence"], max_arcs=30_000)
    assert 1 <= len(paths) <= 20
    assert f"30000 of its {lattice.num_arcs} arcs" in caplog.text and "silence: " in caplog.text


def test_the_margin_is_infinite_where_nothing_is_left_out() -> None:
    distances = torch.tensor([-1.0, 2.0, math.inf, 0.5, -1.0], dtype=torch.float64)
    assert nearest_arcs(distances, 4)[0].tolist() == [0, 1, 3, 4]
    assert nearest_arcs(distances, 4)[1] == nearest_arcs(distances, 9)[1] == math.inf
    numbers, margin = nearest_arcs(distances, 3)
    assert numbers.tolist() == [0, 3, 4] and margin == 0.5
    assert nearest_arcs(distances, 1)[0].tolist() == [0, 4]
