"""Similarities over a data set against the functions on single pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis.similarity import cosine_similarity, linear_cka, mutual_knn
from espnet_plugin.analysis.states import block_similarity
from espnet_plugin.analysis.states.block_similarity import BlockSimilarity, PooledSimilarity

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


def test_short_utterances_have_a_share_in_what_they_allow() -> None:
    values = states(0, 30, batch=2)
    found = measured([(["a", "b"], values, [3, 30]), (["c"], states(1, 4), [1])])
    assert found.short == {"a": 3, "c": 1}
    assert found.utterances == ["a", "b", "c"] and found.frames == 34
    alone = measured([(["b"], [value[1:] for value in values], [30])])
    for name in ("linear_cka", "mutual_knn"):
        assert torch.equal(found.result()[name], alone.result()[name])
    x, y = values[0], values[2]
    z = states(1, 4)
    cosines = [
        cosine_similarity(one[row, :length], other[row, :length]) * length
        for one, other, row, length in ((x, y, 0, 3), (x, y, 1, 30), (z[0], z[2], 0, 1))
    ]
    assert float(found.result()["cosine"][0, 2]) == pytest.approx(sum(cosines) / 34, abs=1e-12)


def test_one_frame_has_an_angle_and_nothing_else() -> None:
    found = measured([(["c"], states(1, 4), [1])]).measured()
    assert not bool(found.values["cosine"].isnan().any())
    for name in ("linear_cka", "linear_cka_biased", "mutual_knn"):
        assert bool(found.values[name].isnan().all()) and found.reasons[name]
    with pytest.raises(ValueError, match="linear_cka: state 0 is the same in all frames"):
        measured([(["c"], states(1, 4), [1])]).result()
    with pytest.raises(ValueError, match="there was no utterance$"):
        BlockSimilarity().result()


def test_a_constant_state_has_reasons_and_the_others_their_values() -> None:
    values = states(0, 30)
    constant = torch.full_like(values[0], 1 / 3)
    whole = measured([(["a"], [*values, constant], [30])]).measured()
    alone = measured([(["a"], values, [30])]).result()
    for name in MEASURES:
        assert torch.allclose(whole.values[name][:3, :3], alone[name], atol=1e-12, rtol=0)
    assert bool(whole.values["linear_cka"][3].isnan().all())
    assert bool(whole.values["mutual_knn"][:, 3].isnan().all())
    assert not bool(whole.values["cosine"].isnan().any())
    assert whole.reasons["linear_cka_biased"] == [
        "state 3 is the same in all frames, or there is one only: 0/0"
    ]
    assert list(whole.reasons["mutual_knn"]) and "cosine" not in whole.reasons


def test_what_has_no_answer_is_named() -> None:
    values = states(0, 30)
    with pytest.raises(ValueError, match="a: its states were compared already"):
        measured([(["a"], values, [30]), (["a"], values, [30])])
    with pytest.raises(ValueError, match="a: compared twice"):
        measured([(["a"], values, [30])]).merge(measured([(["a"], values, [30])]))
    with pytest.raises(ValueError, match="5 neighbours cannot be added to 3"):
        BlockSimilarity(3).merge(BlockSimilarity(5))
    with pytest.raises(ValueError, match="of frames and of utterances"):
        BlockSimilarity(3).merge(PooledSimilarity(3))
    with pytest.raises(ValueError, match="a: its hidden states are not finite"):
        measured([(["a"], [values[0], values[1] / 0], [30])])
    large = torch.full((1, 30, 4), 3e38)  # finite, and its sum in float32 is not
    large[0, ::2] = 1e38
    assert measured([(["a"], [large, large], [30])]).utterances == ["a"]
    with pytest.raises(ValueError, match="a: has no frame"):
        measured([(["a"], values, [0])])
    with pytest.raises(ValueError, match="neighbours must be from 1 to 256, not 257"):
        BlockSimilarity(257)


def test_without_neighbours_the_others_are_the_same() -> None:
    values = states(0, 300, width=40)  # more rows than one strip of a Gram matrix
    found = measured([(["a"], values, [300])], 0).measured()
    whole = measured([(["a"], values, [300])], 7).measured()
    assert "mutual_knn" not in found.values and found.sweep == {}
    for name in ("cosine", "linear_cka", "linear_cka_biased"):
        assert torch.equal(found.values[name], whole.values[name])
    for i, j in ((0, 1), (0, 2)):
        x, y = values[i][0], values[j][0]
        assert float(found.values["linear_cka"][i, j]) == pytest.approx(
            linear_cka(x, y, unbiased=True), abs=1e-12
        )
        knn = float(whole.values["mutual_knn"][i, j])
        assert knn == pytest.approx(mutual_knn(x, y, 7), abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.integers(2, 40), st.integers(1, 7), st.booleans())
def test_a_sweep_of_neighbours(seed: int, frames: int, width: int, equal: bool) -> None:
    """Each k as if it were alone; of equal neighbours the first."""
    values = states(seed, frames, width=width)
    if equal:  # whole numbers with mean 0: products are exact, and many are equal
        values = [value.round() for value in values]
        values = [torch.cat([value, -value], dim=1) for value in values]
        frames *= 2
    sweep = (1, 3, 10)
    similarity = BlockSimilarity(3, sweep)
    similarity.update(["a"], values, [frames])
    found = similarity.measured()
    constant = any(bool((value == value[:, :1]).all()) for value in values[:2])
    for k in sweep:
        if k >= frames or constant:
            assert bool(found.sweep[k][0, 1].isnan())
        else:
            expected = mutual_knn(values[0][0], values[1][0], k)
            assert float(found.sweep[k][0, 1]) == pytest.approx(expected, abs=1e-12)
    assert torch.equal(found.values["mutual_knn"].isnan(), found.sweep[3].isnan())
    assert torch.equal(found.values["mutual_knn"].nan_to_num(), found.sweep[3].nan_to_num())


def test_utterances_are_compared_by_their_means() -> None:
    batches = [([f"u{i}"], [v.float() for v in states(i, 5 + i)], [4 + i]) for i in range(9)]
    pooled = PooledSimilarity(3, (2,))
    for names, values, lengths in batches:
        pooled.update(names, values, lengths)
    means = [
        torch.stack([values[s][0, : 4 + i].double().mean(0) for i, (_, values, _) in rows])
        for rows in [list(enumerate(batches))]
        for s in range(3)
    ]
    found = pooled.measured()
    for i, x in enumerate(means):
        for j, y in enumerate(means):
            expected = {
                "cosine": cosine_similarity(x, y),
                "linear_cka": linear_cka(x, y, unbiased=True),
                "linear_cka_biased": linear_cka(x, y),
                "mutual_knn": mutual_knn(x, y, 3),
            }
            for name, value in expected.items():
                assert float(found.values[name][i, j]) == pytest.approx(value, abs=1e-9)
            assert float(found.sweep[2][i, j]) == pytest.approx(mutual_knn(x, y, 2), abs=1e-12)


def test_the_same_utterances_are_kept_in_any_split() -> None:
    batches = [([f"u{i}"], states(i, 6), [6]) for i in range(12)]
    whole, merged = PooledSimilarity(2, most=7), PooledSimilarity(2, most=7)
    for batch in batches:
        whole.update(*batch)
    for part in (batches[7:], batches[:2], batches[2:7]):
        found = PooledSimilarity(2, most=7)
        for batch in part:
            found.update(*batch)
        loaded = PooledSimilarity()
        loaded.load_state_dict(found.state_dict())
        merged.merge(loaded)
    assert len(whole.utterances) == 7 and merged.utterances == whole.utterances
    for name in MEASURES:
        assert torch.equal(merged.measured().values[name], whole.measured().values[name])
    with pytest.raises(ValueError, match="u3: its states were compared already"):
        whole.update(*batches[3])


def test_frames_that_are_zero_have_no_angle() -> None:
    x, y = states(0, 30)[:2]
    y = y.clone()
    y[0, :10] = 0.0
    found = measured([(["a"], [x, y], [30])]).result()["cosine"]
    assert float(found[0, 1]) == pytest.approx(cosine_similarity(x[0, 10:], y[0, 10:]), abs=1e-12)
    assert float(found[0, 0]) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_states_in_float32_are_compared_in_float64(offset: float) -> None:
    """To 1e-9 of the naive measures of the same numbers, far from the origin too."""
    values = [(value + offset).float() for value in states(3, 90, width=24)]
    found = measured([(["a"], values, [90])]).result()
    x, y = values[0][0].numpy().astype(float), values[2][0].numpy().astype(float)
    for name, expected in naive(x, y, 3).items():
        assert float(found[name][0, 2]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def naive(x: np.ndarray, y: np.ndarray, k: int) -> dict:
    count = len(x)
    h = np.eye(count) - 1 / count
    cosines, shared = [], 0
    for i in range(count):
        cosines.append(x[i] @ y[i] / np.sqrt((x[i] @ x[i]) * (y[i] @ y[i])))
        near = [
            set(sorted((j for j in range(count) if j != i), key=lambda j: -(v[i] @ v[j]))[:k])  # noqa: B023
            for v in (x, y)
        ]
        shared += len(near[0] & near[1])
    kx, ky = h @ x @ x.T @ h, h @ y @ y.T @ h
    hsic = [
        naive_hsic(*map(torch.from_numpy, p)) for p in ((h @ x, h @ y), (h @ x,) * 2, (h @ y,) * 2)
    ]
    return {
        "cosine": np.mean(cosines),
        "linear_cka": hsic[0] / math.sqrt(hsic[1] * hsic[2]),
        "linear_cka_biased": (kx * ky).sum() / np.sqrt((kx**2).sum() * (ky**2).sum()),
        "mutual_knn": shared / (k * count),
    }
