"""k2's lattices against the CTC loss of torch and against enumeration of all alignments."""

from __future__ import annotations

import itertools
import logging

import pytest
import torch

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from espnet_plugin.decode import (  # noqa: E402
    Beams,
    best_paths,
    ctc_topology,
    find_lattices,
    greedy_search,
    total_scores,
)
from espnet_plugin.decode.lattice import dense_fsa_vec  # noqa: E402

WIDE = Beams(search_beam=1000.0, output_beam=1000.0, min_active_states=0, max_active_states=10**6)


def posteriors(batch: int, frames: int, vocab: int, seed: int = 0, scale: float = 2.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(batch, frames, vocab, generator=generator, dtype=torch.float64)
    return torch.log_softmax(logits, dim=-1).float()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 30), min_size=1, max_size=5), st.data())
def test_total_score_is_minus_ctc_loss(seed: int, lengths: list[int], data: st.DataObject) -> None:
    vocab = 6
    log_probs = posteriors(len(lengths), max(lengths), vocab, seed)
    transcripts = []
    for frames in lengths:
        tokens = data.draw(st.lists(st.integers(1, vocab - 1), max_size=(frames + 1) // 2))
        transcripts.append(tokens)
    dense, order = dense_fsa_vec(log_probs, torch.tensor(lengths))
    assert [lengths[i] for i in order] == sorted(lengths, reverse=True)
    graphs = k2.ctc_graph([transcripts[i] for i in order])
    lattice = k2.intersect_dense(graphs, dense, output_beam=1e4)
    loss = torch.nn.functional.ctc_loss(
        log_probs.double().transpose(0, 1),
        torch.tensor([t for tokens in transcripts for t in tokens], dtype=torch.long),
        torch.tensor(lengths),
        torch.tensor([len(tokens) for tokens in transcripts]),
        reduction="none",
    )
    torch.testing.assert_close(total_scores(lattice), -loss[order], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("topology", ["standard", "modified"])
def test_best_path_is_the_best_of_all_alignments(topology: str) -> None:
    vocab, lengths = 4, [6, 3, 1, 5]
    log_probs = posteriors(len(lengths), max(lengths), vocab, seed=3)
    lattices = find_lattices(ctc_topology(vocab, topology), log_probs, torch.tensor(lengths), WIDE)
    assert sorted(lattices.utterances) == [0, 1, 2, 3]
    for i, labels, score in zip(lattices.utterances, *best_paths(lattices.fsa), strict=True):
        scores = {
            path: sum(float(log_probs[i, t, k]) for t, k in enumerate(path))
            for path in itertools.product(range(vocab), repeat=lengths[i])
        }
        path = max(scores, key=lambda p: scores[p])
        assert score == pytest.approx(scores[path], abs=1e-6)
        if topology == "standard":
            assert labels == [k for k, _ in itertools.groupby(path) if k != 0]
        else:  # equal frames may be one token or several
            assert [k for k, _ in itertools.groupby(labels)] == [
                k for k, _ in itertools.groupby(k for k in path if k != 0)
            ]
    # All alignments together have the probability 1 in the standard topology.
    if topology == "standard":
        total = total_scores(lattices.fsa)
        torch.testing.assert_close(total, torch.zeros_like(total), rtol=0, atol=1e-5)


def test_batch_equals_single_and_padding_does_not_matter() -> None:
    vocab, lengths = 20, [7, 40, 1, 23, 40]
    log_probs = posteriors(len(lengths), 40, vocab, seed=5)
    graph = ctc_topology(vocab)
    changed = log_probs.clone()
    for i, frames in enumerate(lengths):
        changed[i, frames:] = 0.0
    for one in (log_probs, changed):
        together = find_lattices(graph, one, torch.tensor(lengths))
        found = dict(
            zip(together.utterances, zip(*best_paths(together.fsa), strict=True), strict=True)
        )
        for i, frames in enumerate(lengths):
            alone = find_lattices(graph, log_probs[i : i + 1, :frames], torch.tensor([frames]))
            labels, scores = best_paths(alone.fsa)
            assert found[i] == (labels[0], scores[0])


def test_default_beams_find_the_greedy_path() -> None:
    log_probs = posteriors(4, 60, 50, seed=7, scale=4.0)
    lengths = torch.tensor([60, 30, 59, 2])
    lattices = find_lattices(ctc_topology(50), log_probs, lengths)
    labels, scores = greedy_search(log_probs, lengths)
    for i, ids, score in zip(lattices.utterances, *best_paths(lattices.fsa), strict=True):
        assert ids == labels[i]
        assert score == pytest.approx(scores[i], abs=1e-4)


def test_no_frames_and_not_a_number(caplog: pytest.LogCaptureFixture) -> None:
    log_probs = posteriors(3, 5, 4)
    log_probs[1, 2, 0] = float("nan")
    lengths = torch.tensor([0, 5, 4])
    graph = ctc_topology(4)
    lattices = find_lattices(graph, log_probs, lengths, names=["a", "b", "c"])
    assert lattices.utterances == [2]
    assert "b: a posterior is not a number" in caplog.text
    assert lengths.tolist() == [0, 5, 4]  # the caller's tensor is as it was
    nothing = find_lattices(graph, log_probs, torch.tensor([0, 0, 0]))
    assert nothing.fsa is None and nothing.utterances == []


def test_without_a_path_the_beams_are_widened(caplog: pytest.LogCaptureFixture) -> None:
    """A transcript's graph: the second utterance fits it, the first says nothing but 1."""
    caplog.set_level(logging.WARNING)
    frames, vocab = 12, 4
    likely, unlikely = torch.zeros(frames, vocab), torch.zeros(frames, vocab)
    likely[:6, 1], likely[6:, 2] = 9.0, 9.0
    unlikely[:, 1] = 9.0
    log_probs = torch.log_softmax(torch.stack([unlikely, likely]), dim=-1)
    graph = k2.ctc_graph([[1, 2]])
    narrow = Beams(search_beam=0.5, output_beam=4.0, min_active_states=0, max_active_states=1)
    lengths = torch.tensor([frames, frames])
    none = find_lattices(graph, log_probs, lengths, narrow, retries=0, names=["odd", "fits"])
    assert none.utterances == [1]
    assert "odd: no path even with" in caplog.text
    caplog.clear()
    found = find_lattices(graph, log_probs, lengths, narrow, retries=6, names=["odd", "fits"])
    assert found.utterances == [1, 0]
    labels, scores = best_paths(found.fsa)
    assert labels == [[1, 2], [1, 2]]
    assert "odd: no path with" in caplog.text and "fits" not in caplog.text
    best = max(
        sum(float(log_probs[0, t, k]) for t, k in enumerate(path))
        for path in (
            [1] * a + [0] * b + [2] * (frames - a - b)
            for a in range(1, frames)
            for b in range(frames - a)
        )
    )
    assert scores[1] == pytest.approx(best, abs=1e-4)


def test_impossible_transcript_has_no_lattice() -> None:
    graph = k2.ctc_graph([[1, 2, 3, 1, 2]])
    lattices = find_lattices(graph, posteriors(1, 3, 4), torch.tensor([3]))
    assert lattices.fsa is None


@pytest.mark.parametrize(
    "options", [{"search_beam": 0}, {"output_beam": -1}, {"min_active_states": 20000}]
)
def test_beams_refuse_nonsense(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Beams(**options)
