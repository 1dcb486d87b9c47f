"""Similarities over a data set against the functions on single pieces."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis import block_similarity
from espnet_plugin.analysis.block_similarity import BlockSimilarity
from espnet_plugin.analysis.similarity import cosine_similarity, linear_cka, mutual_knn

MEASURES = ("cosine", "linear_cka", "linear_cka_biased", "mutual_knn")


def states(seed: int, frames: int, batch: int = 1, width: int = 5, count: int = 3):
    """Each state is the one before and something of its own."""
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(batch, frames, width, generator=generator, dtype=torch.float64)]
    for _ in range(count - 1):
        noise = torch.randn(found[0].shape, generator=generator, dtype=torch.float64)
        found.append(found[-1] + 0.7 * noise + 0.5)
    return found


def measured(batches, neighbours: int = 3) -> BlockSimilarity:
    similarity = BlockSimilarity(neighbours)
    for names, values, lengths in batches:
        similarity.update(names, values, torch.tensor(lengths))
    return similarity


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(5, 40))
def test_one_utterance_of_one_piece(seed: int, frames: int) -> None:
    values = states(seed, frames)
    try:
        found = measured([(["a"], values, [frames])]).result()
    except ValueError as error:  # of few frames the estimate of a norm may be negative
        assert "not positive" in str(error)
        return
    for i, x in enumerate(values):
        for j, y in enumerate(values):
            expected = {
                "cosine": cosine_similarity(x[0], y[0]),
                "linear_cka": linear_cka(x[0], y[0], unbiased=True),
                "linear_cka_biased": linear_cka(x[0], y[0]),
                "mutual_knn": mutual_knn(x[0], y[0], 3),
            }
            for name, value in expected.items():
                assert float(found[name][i, j]) == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_several_pieces_and_padding(monkeypatch) -> None:
    """Means over frames, sums of HSIC before the division."""
    monkeypatch.setattr(block_similarity, "PIECE", 16)
    values = states(1, 40, batch=2)
    for value in values:
        value[1, 13:] = math.nan  # padding
    found = measured([(["a", "b"], values, [40, 13])]).result()
    pieces = [(0, slice(0, 14)), (0, slice(14, 27)), (0, slice(27, 40)), (1, slice(0, 13))]
    x, y = values[0], values[2]
    frames = sum(s.stop - s.start for _, s in pieces)
    for name, function in (("cosine", cosine_similarity), ("mutual_knn", knn)):
        total = sum((s.stop - s.start) * function(x[b, s], y[b, s]) for b, s in pieces)
        assert float(found[name][0, 2]) == pytest.approx(total / frames, abs=1e-9)
    hsic = {
        pair: sum(naive_hsic(values[pair[0]][b, s], values[pair[1]][b, s]) for b, s in pieces)
        for pair in ((0, 2), (0, 0), (2, 2))
    }
    expected = hsic[0, 2] / math.sqrt(hsic[0, 0] * hsic[2, 2])
    assert float(found["linear_cka"][0, 2]) == pytest.approx(expected, abs=1e-9)


def knn(x: torch.Tensor, y: torch.Tensor) -> float:
    return mutual_knn(x, y, 3)


def naive_hsic(x: torch.Tensor, y: torch.Tensor) -> float:
    """Song et al. 2012, equation 5."""
    count, ones = len(x), torch.ones(len(x), dtype=torch.float64)
    k, m = (value @ value.T * (1 - torch.eye(count)) for value in (x, y))
    total = torch.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / (count - 1) / (count - 2)
    return float(total - 2 / (count - 2) * ones @ k @ m @ ones) / (count * (count - 3))


def test_any_split_gives_the_same_bits() -> None:
    batches = [([f"u{i}"], [v.float() for v in states(i, 30 + i)], [30 + i]) for i in range(7)]
    whole = measured(batches)
    parts = [measured(batches[4:]), measured(batches[:1]), measured(batches[1:4])]
    merged = BlockSimilarity(3)
    for part in parts:
        loaded = BlockSimilarity()
        loaded.load_state_dict(part.state_dict())
        merged.merge(loaded)
    assert merged.utterances == whole.utterances == [f"u{i}" for i in range(7)]
    for name in MEASURES:
        assert torch.equal(merged.result()[name], whole.result()[name])
        symmetric = whole.result()[name]
        assert torch.allclose(symmetric, symmetric.T, atol=1e-14, rtol=0)


def test_states_that_are_alike_have_one() -> None:
    x = states(0, 60)[0]
    found = measured([(["a"], [x, 2 * x, x], [60])]).result()
    for name in MEASURES:
        assert torch.allclose(found[name], torch.ones(3, 3, dtype=torch.float64), atol=1e-9)


def test_short_utterances_are_set_aside() -> None:
    similarity = measured(
        [(["a", "b"], states(0, 30, batch=2), [3, 30]), (["c"], states(1, 4), [0])]
    )
    assert similarity.skipped == {"a": 3, "c": 0} and similarity.utterances == ["b"]
    with pytest.raises(ValueError, match=r"no utterance \(1 have too few frames\)"):
        measured([(["c"], states(1, 4), [2])]).result()
    with pytest.raises(ValueError, match="there was no utterance$"):
        BlockSimilarity().result()


def test_what_has_no_answer_is_named() -> None:
    values = states(0, 30)
    with pytest.raises(ValueError, match="a: its states were compared already"):
        measured([(["a"], values, [30]), (["a"], values, [30])])
    with pytest.raises(ValueError, match="a: compared twice"):
        measured([(["a"], values, [30])]).merge(measured([(["a"], values, [30])]))
    with pytest.raises(ValueError, match="5 neighbours cannot be added to 3"):
        BlockSimilarity(3).merge(BlockSimilarity(5))
    with pytest.raises(ValueError, match="a: state 1 is the same in all frames"):
        measured([(["a"], [values[0], torch.ones_like(values[0])], [30])])
    with pytest.raises(ValueError, match="a: its hidden states are not finite"):
        measured([(["a"], [values[0], values[1] / 0], [30])])
    with pytest.raises(ValueError, match="neighbours must be"):
        BlockSimilarity(0)


def test_frames_that_are_zero_have_no_angle() -> None:
    x, y = states(0, 30)[:2]
    y = y.clone()
    y[0, :10] = 0.0
    found = measured([(["a"], [x, y], [30])]).result()["cosine"]
    assert float(found[0, 1]) == pytest.approx(cosine_similarity(x[0, 10:], y[0, 10:]), abs=1e-12)
    assert float(found[0, 0]) == pytest.approx(1.0, abs=1e-12)
