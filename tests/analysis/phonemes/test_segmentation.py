"""Segmentation by rows against its definition, and boundaries counted as Räsänen et al. do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis.phonemes.frames import FrameClock
from espnet_plugin.analysis.phonemes.segmentation import (
    BoundaryCounts,
    count_boundaries,
    distances,
    kernel,
    local_minima,
    r_value,
    segment,
    togetherness,
)
from espnet_plugin.analysis.phonemes.segmentation_measure import mfcc


def _naive_kernel(v: np.ndarray, alpha: float) -> np.ndarray:
    d = np.array([[math.sqrt(((a - b) ** 2).sum()) for b in v] for a in v])
    return np.exp(-d / (alpha * d.mean()))


def _naive_sums(k: np.ndarray, beta: float) -> list[int]:
    frames = len(k)
    kf = np.zeros((frames, frames), dtype=int)
    for i in range(frames):
        epsilon = beta * k[i].mean()
        for j in range(frames):
            between = range(min(i, j), max(i, j) + 1)
            kf[i, j] = all(k[i, m] > epsilon for m in between)
    return [
        sum(
            kf[t - m, t + m]
            for m in range(-frames, frames + 1)
            if 0 <= t - m < frames and 0 <= t + m < frames
        )
        for t in range(frames)
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 24),
    st.integers(1, 5),
    st.integers(0, 2**31),
    st.sampled_from([0.3, 0.5, 1.0, 2.0]),
    st.sampled_from([0.5, 0.9, 1.0, 1.2, 1.6, 5.0]),
)
def test_sums_equal_the_definition(
    frames: int, width: int, seed: int, alpha: float, beta: float
) -> None:
    generator = np.random.default_rng(seed)
    v = generator.normal(size=(frames, width)).cumsum(0) + generator.normal(size=(frames, width))
    found = kernel(distances(torch.from_numpy(v)), alpha)
    np.testing.assert_allclose(found.numpy(), _naive_kernel(v, alpha), rtol=1e-9)
    assert togetherness(found, beta).tolist() == _naive_sums(found.numpy(), beta)


def test_batches_are_each_their_own() -> None:
    maps = torch.softmax(3 * torch.randn(2, 3, 15, 15), -1)
    whole = togetherness(kernel(distances(maps), 0.5), 1.2)
    for b in range(2):
        for h in range(3):
            one = kernel(distances(maps[b, h]), 0.5)
            assert togetherness(one, 1.2).tolist() == whole[b, h].tolist()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_minima_are_lower_than_what_is_left_and_right_of_them(values: list[int]) -> None:
    wanted, t = [], 0
    while t < len(values):
        end = t
        while end + 1 < len(values) and values[end + 1] == values[t]:
            end += 1
        if t > 0 and end < len(values) - 1 and values[t - 1] > values[t] < values[end + 1]:
            wanted.append((t + end) // 2)
        t = end + 1
    assert local_minima(np.array(values)).tolist() == wanted


def test_stretches_of_equal_frames_are_found() -> None:
    """Three constant stretches: within them all is together, across them nothing."""
    vectors = torch.zeros(30, 2)
    vectors[10:18, 0] = 1.0
    vectors[18:, 1] = 2.0
    found = segment(vectors, alpha=0.5, beta=1.2)
    assert len(found) == 2
    assert abs(int(found[0]) - 10) <= 1
    assert abs(int(found[1]) - 18) <= 1


def test_a_uniform_map_has_no_boundaries() -> None:
    assert len(segment(torch.full((12, 12), 1 / 12), beta=0.9)) == 0
    assert len(segment(torch.full((12, 12), 1 / 12), beta=1.1)) == 0
    assert len(segment(torch.ones(1, 1))) == 0


def _naive_counts(found: list[int], true: list[int], tolerance: int) -> BoundaryCounts:
    hits = 0
    for n, b in enumerate(true):
        low, high = b - tolerance, b + tolerance
        low_open = n > 0 and (true[n - 1] + b) / 2 >= low
        low = (true[n - 1] + b) / 2 if low_open else low
        if n + 1 < len(true):
            high = min(high, (true[n + 1] + b) / 2)
        hits += any((low < f if low_open else low <= f) and f <= high for f in found)
    return BoundaryCounts(hits, len(found), len(true))


_PLACES = st.lists(st.integers(0, 200), max_size=30, unique=True).map(sorted)


@given(_PLACES, _PLACES, st.integers(0, 30))
def test_counts_equal_the_naive_ones(found: Any, true: Any, tolerance: int) -> None:
    counts = count_boundaries(np.array(found), np.array(true), tolerance)
    assert counts == _naive_counts(found, true, tolerance)
    assert counts.hits <= min(len(found), len(true))


def test_the_tolerance_is_exact_and_nothing_hits_twice() -> None:
    true = np.array([1000, 2000])
    assert count_boundaries(np.array([680, 2320]), true, 320).hits == 2
    assert count_boundaries(np.array([679, 2321]), true, 320).hits == 0
    assert count_boundaries(np.array([1010]), np.array([1000, 1020]), 320).hits == 1


def test_r_value_in_closed_form() -> None:
    """Perfect: 1. Nothing found: HR 0, OS -1. Twice as many, all hit: HR 1, OS 1."""
    assert BoundaryCounts(10, 10, 10).r_value == 1.0
    assert BoundaryCounts(0, 0, 10).r_value == pytest.approx(1 - math.sqrt(2) / 2)
    assert BoundaryCounts(10, 20, 10).r_value == pytest.approx(1 - (1 + 1 / math.sqrt(2)) / 2)
    # HR 74.0 %, OS -4.0 %: by hand after the paper's formulas in percent
    counts = BoundaryCounts(740, 960, 1000)
    r1 = math.sqrt((100 - 74.0) ** 2 + (-4.0) ** 2)
    r2 = (4.0 + 74.0 - 100) / math.sqrt(2)
    assert 100 * counts.r_value == pytest.approx(100 - (abs(r1) + abs(r2)) / 2)
    assert counts.recall == 0.74
    assert counts.precision == pytest.approx(740 / 960)
    assert counts.f_score == pytest.approx(2 / (1 / counts.recall + 1 / counts.precision))
    assert counts.over_segmentation == pytest.approx(-0.04)
    assert r_value(np.array([counts, counts])).tolist() == [counts.r_value] * 2


def test_nothing_to_find_has_no_figures() -> None:
    nothing = BoundaryCounts(0, 0, 0)
    for value in (nothing.r_value, nothing.recall, nothing.precision, nothing.f_score):
        assert math.isnan(value)


def test_mfccs_are_of_the_windows_around_the_samples() -> None:
    """A sample changes the frames whose window of 400 samples holds it, and no other."""
    clock = FrameClock(160, 0)
    for place in (0, 1000, 3199):
        speech = torch.randn(3200)
        before = mfcc(speech, 16000, clock, 21)
        assert before.shape == (21, 13)
        speech[place] += 5.0
        changed = (mfcc(speech, 16000, clock, 21) != before).any(1)
        for t in range(21):  # the Hann window's first weight is zero
            inside = t * 160 - 200 < place < t * 160 + 200
            assert bool(changed[t]) == inside, (place, t)
    late = mfcc(torch.randn(3200), 16000, FrameClock(960, 1172, 2345), 2)
    assert late.shape == (2, 13)
