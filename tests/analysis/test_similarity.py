"""Similarity of representations against naive float64 versions and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis import similarity
from espnet_plugin.analysis.similarity import cosine_similarity, linear_cka, mutual_knn


def gaussian(seed: int, samples: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(samples, width))


def naive_cka(x: np.ndarray, y: np.ndarray, unbiased: bool) -> float:
    count = len(x)

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        if not unbiased:
            h = np.eye(count) - 1 / count
            return float(np.sum((h @ k @ h) * (h @ m @ h)))
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        ones = np.ones(count)
        total = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / (count - 1) / (count - 2)
        return float(total - 2 / (count - 2) * ones @ k @ m @ ones)

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def naive_knn(x: np.ndarray, y: np.ndarray, k: int) -> float:
    shares = []
    for i in range(len(x)):
        near = []
        for value in (x, y):
            others = [(-float(value[i] @ value[j]), j) for j in range(len(x)) if j != i]
            near.append({j for _, j in sorted(others)[:k]})
        shares.append(len(near[0] & near[1]) / k)
    return float(np.mean(shares))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 999), st.integers(5, 40), st.integers(1, 12), st.integers(1, 12), st.booleans()
)
def test_cka_is_the_naive_one(seed: int, count: int, dx: int, dy: int, unbiased: bool) -> None:
    x, y = gaussian(seed, count, dx) + 3.0, gaussian(seed + 1, count, dy)
    y[:, 0] += x[:, 0]
    expected = naive_cka(x, y, unbiased)
    assert linear_cka(x, y, unbiased) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("unbiased", [False, True])
def test_cka_knows_no_rotation_scale_or_shift(unbiased: bool) -> None:
    x = gaussian(0, 30, 6)
    rotation = np.linalg.qr(gaussian(1, 6, 6))[0]
    assert linear_cka(x, x, unbiased) == pytest.approx(1.0, abs=1e-12)
    assert linear_cka(x, -7 * x @ rotation + 5, unbiased) == pytest.approx(1.0, abs=1e-9)
    wide = np.concatenate([x, x], axis=1)
    assert linear_cka(x, wide, unbiased) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    "count, unbiased, single, mean",
    [(32, False, 0.198, 0.2), (32, True, 0.017, 0.0), (256, False, 0.029, 8 / 264),
     (256, True, 0.001, 0.0)],
)  # fmt: skip
def test_cka_of_independent_gaussians(count, unbiased, single, mean) -> None:
    """Width 8. Single draws that others report, and the expectation, n → ∞: D/(n + D), and 0."""
    values = [
        linear_cka(gaussian(2 * seed, count, 8), gaussian(2 * seed + 1, count, 8), unbiased)
        for seed in range(100)
    ]
    error = np.std(values, ddof=1)
    assert abs(np.mean(values) - single) < 2 * error
    assert abs(np.mean(values) - mean) < 3.5 * error / 10 + 0.1 / count


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.integers(2, 30), st.integers(1, 6), st.integers(1, 29))
def test_knn_is_the_naive_one(seed: int, count: int, width: int, k: int) -> None:
    # whole numbers: products are exact, and many are equal
    x, y = (3 * gaussian(seed, count, width)).round(), (3 * gaussian(seed + 1, count, 3)).round()
    k = min(k, count - 1)
    assert mutual_knn(x, y, k) == pytest.approx(naive_knn(x, y, k), abs=1e-12)


def test_knn_by_pieces_of_the_samples(monkeypatch) -> None:
    x, y = gaussian(0, 50, 4), gaussian(0, 50, 4) + 0.5 * gaussian(1, 50, 4)
    whole = mutual_knn(x, y, 5)
    monkeypatch.setattr(similarity, "ROWS", 7)
    assert mutual_knn(x, y, 5) == whole == pytest.approx(naive_knn(x, y, 5))
    assert mutual_knn(x, 3 * x, 5) == 1.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, 30), st.integers(1, 8))
def test_cosine_is_the_naive_one(seed: int, count: int, width: int) -> None:
    x, y = gaussian(seed, count, width), gaussian(seed + 1, count, width)
    x[0] *= 1e-3
    cosines = [a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(x, y, strict=True)]
    assert cosine_similarity(x, y) == pytest.approx(np.mean(cosines), abs=1e-9)


def test_samples_without_an_angle_are_left_out() -> None:
    x = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    assert cosine_similarity(x, x) == 1.0
    assert cosine_similarity(x, -x) == -1.0
    with pytest.raises(ValueError, match="every sample is zero"):
        cosine_similarity(x, np.zeros_like(x))


def test_tensors_of_other_types_are_summed_in_float64() -> None:
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)) + 1000
    y = x.double() + 0.1
    assert linear_cka(x, y) == pytest.approx(1.0, abs=1e-9)
    assert cosine_similarity(x.half().float(), x.half()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda x: linear_cka(x, np.ones((6, 3))), ValueError, "y is the same in all samples"),
        (lambda x: linear_cka(x[:3], x[:3], True), ValueError, "at least 4 samples, not 3"),
        (lambda x: linear_cka(x, x[:5]), ValueError, "same samples, not 6 and 5"),
        (lambda x: linear_cka(x * np.nan, x), ValueError, "x has values that are not finite"),
        (lambda x: linear_cka(x.round().astype(int), x), TypeError, "floating-point"),
        (lambda x: linear_cka(x[0], x), ValueError, r"\(samples, width\), not \(2,\)"),
        (lambda x: cosine_similarity(x, x[:, :1]), ValueError, "one width, not 2 and 1"),
        (lambda x: mutual_knn(x, x, 6), ValueError, "between 1 and 5 for 6 samples, not 6"),
        (lambda x: mutual_knn(x, x, 0), ValueError, "between 1 and 5"),
    ],
)
def test_what_has_no_answer_is_refused(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call(gaussian(0, 6, 2))
