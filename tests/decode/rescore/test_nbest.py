"""n-best lists against enumeration of all paths."""

from __future__ import annotations

import logging
from typing import List

import pytest
import torch

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from small_lattices import Arc, Small, small_lattices, to_fsa_vec, tokens, words  # noqa: E402

from espnet_plugin.decode import ctc_topology, find_lattices  # noqa: E402
from espnet_plugin.decode.rescore.nbest import nbest_paths, sampled_paths  # noqa: E402
from espnet_plugin.decode.scales import Scales, set_scores  # noqa: E402

SCALES = Scales(acoustic=0.5, hlg=2.0, lm=0.75, word=0.625)


def exact_score(path: List[Arc], scales: Scales = SCALES) -> float:
    """The total of a path whose arcs' scores k2 holds as float32."""
    parts = [torch.tensor([getattr(arc, n) for arc in path]) for n in ("am", "lm", "lexicon")]
    counts = torch.tensor([float(len(words([arc]))) for arc in path])
    return float(scales.combine(*parts, counts).double().sum())


def enumerate_best(lattice: Small) -> List[tuple]:
    """(score, labels) of all label sequences, best first, equal ones by labels."""
    best: dict = {}
    for path in lattice.paths():
        labels = words(path)
        best[labels] = max(best.get(labels, -1e9), exact_score(path))
    return sorted(((score, labels) for labels, score in best.items()), key=lambda x: (-x[0], x[1]))


@settings(max_examples=200, deadline=None)
@given(st.lists(small_lattices(), min_size=1, max_size=3), st.integers(1, 12))
def test_equals_enumeration(lattices: List[Small], num_paths: int) -> None:
    lattice = set_scores(to_fsa_vec(lattices), SCALES)
    found = nbest_paths(lattice, num_paths)
    assert len(found) == len(lattices)
    for small, paths in zip(lattices, found, strict=True):
        expected = enumerate_best(small)[:num_paths]
        assert [path.score(SCALES) for path in paths] == pytest.approx(
            [score for score, _ in expected], abs=1e-5
        )
        scores = [score for score, _ in enumerate_best(small)]
        if all(abs(a - b) > 1e-5 for a, b in zip(scores, scores[1:], strict=False)):
            assert [path.labels for path in paths] == [labels for _, labels in expected]
        alignments = {
            (words(path), tokens(path)): sum(arc.am for arc in path) for path in small.paths()
        }
        for path in paths:
            assert (path.labels, path.tokens) in alignments
            assert len({p.labels for p in paths}) == len(paths)
            arcs = list(path.arcs)
            assert path.am_score == pytest.approx(float(lattice.am_scores[arcs].sum()), abs=1e-5)
            assert path.lm_score == pytest.approx(float(lattice.lm_scores[arcs].sum()), abs=1e-5)
            chain = lattice.arcs.values()[arcs][:, :2].tolist()
            assert chain[0][0] == 0 and chain[-1][1] == small.states - 1
            assert all(a[1] == b[0] for a, b in zip(chain, chain[1:], strict=False))


def test_equal_scores_come_in_the_order_of_their_labels() -> None:
    """0.1 + 0.2 + 0.3 in any order of summation is one score."""
    orders = [(0.1, 0.2, 0.3), (0.3, 0.1, 0.2), (0.2, 0.3, 0.1), (0.3, 0.2, 0.1)]
    arcs = []
    for i, (label, scores) in enumerate(zip((4, 2, 3, 1), orders, strict=True)):
        first, second = 1 + 2 * i, 2 + 2 * i
        arcs += [
            Arc(0, first, 1, (label,), -scores[0]),
            Arc(first, second, 0, (), -scores[1]),
            Arc(second, 9, -1, (), -scores[2]),
        ]
    (paths,) = nbest_paths(to_fsa_vec([Small(10, arcs)]), 3)
    assert [path.labels for path in paths] == [(1,), (2,), (3,)]


def test_plain_and_ragged_labels_agree() -> None:
    small = Small(4, [Arc(0, 1, 2, (5,), -1.0), Arc(0, 1, 3, (), -2.0), Arc(1, 3, -1, (), -0.5)])
    plain, ragged = (nbest_paths(to_fsa_vec([small], ragged=r), 5) for r in (False, True))
    assert plain == ragged
    assert [(p.labels, p.tokens, p.am_score) for p in plain[0]] == [
        ((5,), (2,), -1.5),
        ((), (3,), -2.5),
    ]


def test_no_path_one_frame_and_nothing_said() -> None:
    dead_end = Small(3, [Arc(0, 1, 1, (1,), -1.0)])
    closed = Small(2, [Arc(0, 1, -1, (), float("-inf"))])
    silent = Small(2, [Arc(0, 1, -1, (), -0.25)])
    found = nbest_paths(to_fsa_vec([dead_end, Small(0), silent, closed]), 4)
    assert [len(paths) for paths in found] == [0, 0, 1, 0]
    assert found[2][0].labels == () and found[2][0].tokens == ()
    assert found[2][0].am_score == -0.25


def test_tokens_of_the_topology_where_the_lattice_has_them() -> None:
    """In the modified topology equal tokens may follow each other without a blank."""
    lattice = to_fsa_vec([Small(4, [Arc(0, 1, 7, (1,)), Arc(1, 2, 7), Arc(2, 3, -1)])])
    assert nbest_paths(lattice, 1)[0][0].tokens == (7,)
    lattice.tokens = torch.tensor([7, 7, -1], dtype=torch.int32)
    assert nbest_paths(lattice, 1)[0][0].tokens == (7, 7)


def random_ctc_lattices(vocab: int = 6, seed: int = 0) -> k2.Fsa:
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.log_softmax(2 * torch.randn(3, 9, vocab, generator=generator), dim=-1)
    fsa = find_lattices(ctc_topology(vocab), log_probs, torch.tensor([9, 6, 1])).fsa
    fsa.am_scores = fsa.scores
    fsa.lm_scores = fsa.lexicon_scores = torch.zeros_like(fsa.scores)
    return fsa


def test_best_equals_k2_and_list_is_sorted_and_distinct() -> None:
    lattice = random_ctc_lattices()
    best = k2.shortest_path(lattice, use_double_scores=True)
    scores = best.get_tot_scores(use_double_scores=True, log_semiring=False).tolist()
    for labels, score, paths in zip(
        k2.get_aux_labels(best), scores, nbest_paths(lattice, 200), strict=True
    ):
        assert list(paths[0].labels) == labels
        totals = [path.score(Scales()) for path in paths]
        assert totals[0] == pytest.approx(score, abs=1e-6)
        assert totals == sorted(totals, reverse=True)
        assert len({path.labels for path in paths}) == len(paths)
        assert all(path.tokens == path.labels for path in paths)


def test_work_is_limited(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    lattice = random_ctc_lattices()
    full = nbest_paths(lattice, 200)
    some = nbest_paths(lattice, 200, max_visits=2000, names=["a", "b", "c"])
    assert 1 < len(some[0]) < len(full[0])
    assert some[0] == full[0][: len(some[0])]
    assert f"a: {len(some[0])} of the 200 best paths" in caplog.text
    assert [len(paths) for paths in nbest_paths(lattice, 200, max_visits=1)] == [1, 1, 1]


@pytest.mark.parametrize("ragged", [False, True])
def test_sampled_paths_are_the_drawn_ones_at_their_best(ragged: bool) -> None:
    lattice = random_ctc_lattices(vocab=4)
    if ragged:
        plain = lattice.aux_labels
        lattice.aux_labels = k2.RaggedTensor([[x] if x > 0 else [] for x in plain.tolist()])
    everything = nbest_paths(lattice, 10**6, max_visits=10**9)
    sampled = sampled_paths(lattice, 100, nbest_scale=0.5)
    for all_paths, paths in zip(everything, sampled, strict=True):
        ranks = [all_paths.index(path) for path in paths]  # the same scores, tokens and arcs
        assert ranks == sorted(set(ranks)) and ranks
    assert len(sampled[0]) > len(sampled_paths(lattice, 100, nbest_scale=4.0)[0])
    assert sampled == sampled_paths(lattice, 100, nbest_scale=0.5)


def test_sampled_paths_are_those_of_espnet() -> None:
    from espnet2.fst.lm_rescore import nbest_am_lm_scores

    lattice = random_ctc_lattices(seed=4)
    bare = lattice.clone()
    del bare.lm_scores
    scores, _, token_ids, _, rows, _ = nbest_am_lm_scores(bare, 50, "cpu", 500)
    theirs: List[dict] = [{}, {}, {}]
    for row, ids, score in zip(rows.tolist(), token_ids, scores.tolist(), strict=True):
        theirs[row][tuple(ids)] = score
    for one, paths in zip(theirs, sampled_paths(lattice, 50, nbest_scale=1.0), strict=True):
        assert {path.tokens: path.am_score for path in paths} == pytest.approx(one, abs=1e-5)


def test_errors() -> None:
    lattice = random_ctc_lattices()
    with pytest.raises(ValueError, match="num_paths"):
        nbest_paths(lattice, 0)
    del lattice.lexicon_scores
    with pytest.raises(ValueError, match="no lexicon_scores"):
        nbest_paths(lattice, 1)
    looped = to_fsa_vec([Small(2, [Arc(0, 1, -1)])])
    looped = k2.create_fsa_vec([k2.Fsa.from_str("0 0 1 0\n0 1 -1 0\n1")])
    looped.aux_labels = torch.tensor([1, -1], dtype=torch.int32)
    looped.am_scores = looped.lm_scores = looped.lexicon_scores = looped.scores
    with pytest.raises(ValueError, match="top_sort"):
        nbest_paths(looped, 1)
