"""Relation maps and phoneme attention relationship against naive sums and closed forms."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis.phoneme import (
    chosen_rows,
    concentration,
    phoneme_attention,
    phoneme_attention_relationship,
    phoneme_relation_map,
    relation_sums,
)


def _duplicated(a: np.ndarray, factor: int) -> np.ndarray:
    big = np.repeat(np.repeat(a, factor, 0), factor, 1)
    return big / big.sum(1, keepdims=True)


def _naive_relation(maps: Any, lengths: Any, labels: Any, classes: int, factor: int = 1) -> Any:
    """P by the sentences of the definition, one pair of frames after the other."""
    _, heads = maps.shape[:2]
    attended, uniform = np.zeros((heads, classes, classes)), np.zeros((classes, classes))
    for u, length in enumerate(lengths):
        total = length * factor
        for head in range(heads):
            a = _duplicated(maps[u, head, :length, :length], factor)
            for q in range(total):
                for k in range(total):
                    m, n = labels[u, q], labels[u, k]
                    if m >= 0 and n >= 0:
                        attended[head, m, n] += a[q, k] / total / len(lengths)
                        if head == 0:
                            uniform[m, n] += 1 / total**2 / len(lengths)
    return np.where(uniform > 0, (attended - uniform) / np.where(uniform > 0, uniform, 1), np.nan)


def _naive_attention(maps: Any, lengths: Any, labels: Any, classes: int, factor: int = 1) -> Any:
    batch, heads = maps.shape[:2]
    found = np.full((batch, heads, classes, classes), np.nan)
    for u, length in enumerate(lengths):
        total = length * factor
        y = labels[u, :total]
        for head in range(heads):
            a = _duplicated(maps[u, head, :length, :length], factor)
            for p in range(classes):
                for q in range(classes):
                    means = []
                    for i in range(total):
                        if y[i] != p:
                            continue
                        joined = set()
                        if y[i] == q:
                            for step in (1, -1):
                                j = i
                                while 0 <= j < total and y[j] == q:
                                    joined.add(j)
                                    j += step
                        there = [j for j in range(total) if y[j] == q and j not in joined]
                        if there:
                            means.append(np.mean([a[i, j] for j in there]))
                    if means:
                        found[u, head, p, q] = np.mean(means) * total
    return found


@st.composite
def _cases(draw: Any) -> Any:
    batch, heads = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    frames, factor = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    classes = draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(1, frames), min_size=batch, max_size=batch))
    seed = draw(st.integers(0, 2**31))
    generator = np.random.default_rng(seed)
    maps = generator.exponential(size=(batch, heads, frames, frames)) ** 3
    for u, length in enumerate(lengths):
        maps[u, :, :length, :length] /= maps[u, :, :length, :length].sum(-1, keepdims=True)
        maps[u, :, length:] = maps[u, :, :, length:] = np.nan  # padding is anything
    runs = generator.integers(-1, classes, (batch, frames * factor))
    labels = np.repeat(runs, draw(st.integers(1, 3)), 1)[:, : frames * factor]
    return maps, lengths, labels, classes, factor


@settings(max_examples=60, deadline=None)
@given(_cases())
def test_relation_map_equals_the_naive_sum(case: Any) -> None:
    maps, lengths, labels, classes, factor = case
    found = phoneme_relation_map(torch.from_numpy(maps), lengths, torch.from_numpy(labels), classes)
    naive = _naive_relation(maps, lengths, labels, classes, factor)
    np.testing.assert_allclose(found.numpy(), naive, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(_cases())
def test_phoneme_attention_equals_the_naive_mean(case: Any) -> None:
    maps, lengths, labels, classes, factor = case
    arguments = torch.from_numpy(maps), torch.tensor(lengths), torch.from_numpy(labels), classes
    naive = _naive_attention(maps, lengths, labels, classes, factor)
    np.testing.assert_allclose(phoneme_attention(*arguments).numpy(), naive, rtol=1e-9, atol=1e-12)
    found = phoneme_attention_relationship(*arguments).numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        mean = np.nanmean(naive, 0)
    np.testing.assert_allclose(found, mean, rtol=1e-9, atol=1e-12)


def _speech(frames: int = 60, classes: int = 7, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    runs = torch.randint(0, classes - 1, (1, frames), generator=generator)  # the last: never
    return runs.repeat_interleave(3, 1)[:, :frames]


def test_uniform_attention_prefers_nothing() -> None:
    labels = _speech()
    labels[0, 10:20] = -1
    maps = torch.full((1, 2, 60, 60), 1 / 60, dtype=torch.float64)
    relations = phoneme_relation_map(maps, [60], labels, 7)
    there = ~relations.isnan()
    assert there[:, :6, :6].all()
    assert not there[:, 6].any()
    assert relations[there].abs().max() < 1e-12
    assert concentration(relations)[:, :6].abs().max() < 1e-12
    assert concentration(relations)[:, 6].isnan().all()
    found = phoneme_attention_relationship(maps, [60], labels, 7)
    assert (found[~found.isnan()] - 1).abs().max() < 1e-12


def test_the_identity_stays_in_its_class_and_its_run() -> None:
    labels = _speech()
    maps = torch.eye(60, dtype=torch.float64).expand(1, 1, 60, 60)
    share = labels[0].bincount(minlength=7) / 60
    relations = phoneme_relation_map(maps, [60], labels, 7)[0]
    for n in range(6):
        assert float(relations[n, n]) == pytest.approx(1 / float(share[n]) - 1, rel=1e-6)
    assert (relations[:6, :6].flatten()[[1, 2, 8]] == -1).all()
    found = phoneme_attention_relationship(maps, [60], labels, 7)
    assert found[~found.isnan()].abs().max() == 0.0  # each frame's own run is left out


def test_one_column_is_focused_on_by_all() -> None:
    labels = torch.tensor([[0, 0, 1, 2, 2, 1]])
    maps = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    maps[..., 2] = 1.0
    relations = phoneme_relation_map(maps, [6], labels, 3)
    assert relations[0].tolist() == [[-1.0, 2.0, -1.0]] * 3
    assert concentration(relations)[0].tolist() == [-1.0, 2.0, -1.0]
    found = phoneme_attention_relationship(maps, [6], labels, 3)[0]
    # class 1 has two frames in two runs; frame 5 sees column 2 there, frame 2 only column 5
    assert found[0, 1] == found[2, 1] == 3.0
    assert found[1, 1] == 3.0  # (0 + 1) / 2 times 6
    assert found[0, 0].isnan()


def test_sums_are_shares() -> None:
    generator = torch.Generator().manual_seed(1)
    maps = torch.softmax(torch.randn(2, 3, 40, 40, generator=generator).double(), -1)
    labels = torch.cat([_speech(40), _speech(40, seed=2)])
    attended, uniform = relation_sums(maps, [40, 40], labels, 7)
    assert (attended.sum((-1, -2)) - 1).abs().max() < 1e-12
    assert (uniform.sum((-1, -2)) - 1).abs().max() < 1e-12


def test_finer_labels_are_the_duplicated_map() -> None:
    """What no map of the finer size is made for."""
    generator = torch.Generator().manual_seed(2)
    maps = torch.softmax(torch.randn(1, 2, 20, 20, generator=generator).double(), -1)
    labels = _speech(60)
    big = maps.repeat_interleave(3, 2).repeat_interleave(3, 3) / 3
    for function in (phoneme_relation_map, phoneme_attention_relationship):
        fine, whole = function(maps, [20], labels, 7), function(big, [60], labels, 7)
        torch.testing.assert_close(fine, whole, rtol=1e-10, atol=1e-12, equal_nan=True)


def test_all_one_class_and_one_frame() -> None:
    maps = torch.softmax(torch.randn(1, 2, 5, 5).double(), -1)
    one = torch.zeros(1, 5, dtype=torch.int64)
    assert phoneme_relation_map(maps, [5], one, 1).abs().max() < 1e-12
    assert phoneme_attention_relationship(maps, [5], one, 1).isnan().all()
    assert phoneme_relation_map(maps[..., :1, :1], [1], one[:, :1], 1).shape == (2, 1, 1)
    none = phoneme_relation_map(maps, [5], one - 1, 2)
    assert none.isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_shorter_types_are_summed_in_float32(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    maps = torch.softmax(4 * torch.randn(1, 2, 600, 600, generator=generator), -1).to(dtype)
    labels = _speech(600, 40)
    for function in (phoneme_relation_map, phoneme_attention_relationship):
        found = function(maps, [600], labels, 40)
        exact = function(maps.double(), [600], labels, 40)
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_a_tiny_weight_far_away_is_not_lost_beside_the_diagonal() -> None:
    """Nothing is got by subtracting what is near from the whole."""
    labels = torch.tensor([[0, 0, 1, 0, 0]])
    maps = torch.eye(5) * (1 - 1e-9)
    maps[0, 4] = 1e-9
    found = phoneme_attention_relationship(maps[None, None], [5], labels, 2)
    assert float(found[0, 0, 0]) == pytest.approx(1e-9 / 2 / 4 * 5, rel=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    maps = torch.full((2, 1, 4, 4), 0.25)
    good = torch.zeros(2, 4, dtype=torch.int64)
    for labels, error, said in (
        (good.double(), TypeError, "whole numbers, not torch.float64"),
        (good[:1], ValueError, r"must be \(2, 4\), or of 4 times"),
        (good[:, :3], ValueError, "must be"),
        (torch.zeros(2, 6, dtype=torch.int64), ValueError, "must be"),
        (good + 3, ValueError, r"labels\[0\] has classes from 3 to 3; .* to 2"),
        (good - 2, ValueError, "from -2 to -2"),
    ):
        with pytest.raises(error, match=said):
            phoneme_relation_map(maps, [4, 4], labels, 3)
        with pytest.raises(error, match=said):
            phoneme_attention_relationship(maps, [4, 4], labels, 3)
    beyond = good.clone()
    beyond[1, 2:] = 99  # padding is anything
    assert math.isfinite(float(phoneme_relation_map(maps, [4, 2], beyond, 1)[0, 0, 0]))


def test_no_utterances_give_empty_sums() -> None:
    maps = torch.zeros(0, 2, 4, 4)
    labels = torch.zeros(0, 4, dtype=torch.int64)
    assert relation_sums(maps, [], labels, 3).attended.shape == (0, 2, 3, 3)
    assert phoneme_attention(maps, [], labels, 3).shape == (0, 2, 3, 3)


def test_rows_are_summed_alike_as_a_product() -> None:
    """What runs on a GPU, where adding rows one by one has no fixed order."""
    values, places = torch.randn(3, 20, 7).double(), torch.randint(0, 5, (20,))
    for dim, moved in ((1, values), (0, values.transpose(0, 1).contiguous())):
        shape = list(moved.shape)
        shape[dim] = 5
        wanted = torch.zeros(shape, dtype=torch.float64).index_add_(dim, places, moved)
        torch.testing.assert_close(chosen_rows(5, dim, places, moved), wanted)
