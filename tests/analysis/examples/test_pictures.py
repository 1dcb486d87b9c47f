"""Maps as pictures: the scale, the size that is asked for, thin lines in thumbnails."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis.examples.pictures import (
    LEVELS,
    QUALITIES,
    decode,
    picture,
    quantise,
    sheet,
    thumbnail,
)


def a_map(frames, seed=0):
    generator = np.random.default_rng(seed)
    weights = np.exp(2 * generator.normal(size=(frames, frames)))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@given(st.integers(1, 40), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_levels_are_the_root_of_the_share_of_the_largest(frames, seed):
    weights = a_map(frames, seed)
    levels, maximum = quantise(weights)
    assert levels.dtype == np.uint8 and maximum == weights.max()
    back = maximum * (levels / LEVELS) ** 2
    # half a level on the scale of roots
    assert np.abs(np.sqrt(back / maximum) - np.sqrt(weights / maximum)).max() <= 0.5001 / LEVELS


def test_a_map_of_nothing_is_black():
    levels, maximum = quantise(np.zeros((3, 3), np.float32))
    assert maximum == 0 and not levels.any()


@given(st.integers(1, 70))
@settings(max_examples=15, deadline=None)
def test_small_pictures_are_exact(frames):
    levels, _ = quantise(a_map(frames))
    found = picture(levels, 100_000)
    assert (found.quality, found.error) == (100, 0.0)
    assert np.array_equal(decode(found.data), levels)


def test_the_best_quality_that_fits_is_taken():
    levels, _ = quantise(a_map(300))
    sizes = []
    for most in (60_000, 20_000, 8_000, 3_000):
        found = picture(levels, most)
        assert len(found.data) <= most
        difference = decode(found.data).astype(float) - levels
        assert found.error == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-6)
        sizes.append((found.quality, found.error))
    assert sizes[0][0] > sizes[-1][0] and sizes[0][1] < sizes[-1][1]
    assert picture(levels, 10).quality == QUALITIES[-1]  # nothing fits: the least


def test_more_pixels_than_webp_has_are_refused():
    with pytest.raises(ValueError, match="20000 frames"):
        picture(np.zeros((20000, 1), np.uint8), 1000)


@pytest.mark.parametrize("frames", [5, 48, 50, 1750])
def test_thin_lines_stay_in_thumbnails(frames):
    levels = np.zeros((frames, frames), np.uint8)
    np.fill_diagonal(levels, 200)
    small = thumbnail(levels, 48)
    assert small.shape == (48, 48) and (small.diagonal() == 200).all()
    assert small[0, 47] == 0


def test_a_sheet_holds_the_thumbnails_in_rows():
    grid = np.zeros((2, 3, 16, 16), np.uint8)
    grid[1, 2] = 255
    found = decode(sheet(grid)).astype(int)
    assert found.shape == (32, 48)
    assert found[20:30, 36:46].min() > 240 and found[:12].max() < 15
