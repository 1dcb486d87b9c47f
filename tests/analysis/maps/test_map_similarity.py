"""Jensen–Shannon similarity against loops and known values."""

from __future__ import annotations

import math

import pytest
import torch

from espnet_plugin.analysis.maps.map_similarity import js_similarity, pairwise_similarity


def naive(a, b, t):
    total = 0.0
    for q in range(t):
        divergence = 0.0
        for k in range(t):
            p, r = a[q][k], b[q][k]
            m = (p + r) / 2
            divergence += (p * math.log(p / m) if p > 0 else 0) / 2
            divergence += (r * math.log(r / m) if r > 0 else 0) / 2
        total += 1 - divergence / math.log(2)
    return total / t


def test_equals_loops_with_padding():
    torch.manual_seed(0)
    lengths = [6, 4, 1]
    blocks = [(3 * torch.randn(3, 2, 6, 6)).double() for _ in range(3)]
    for maps in blocks:
        for u, t in enumerate(lengths):
            maps[u, :, :t, :t] = maps[u, :, :t, :t].softmax(-1)
            maps[u, :, t:], maps[u, :, :, t:] = math.nan, math.nan
    got = pairwise_similarity(blocks, lengths)
    assert got.shape == (3, 3, 3, 2) and torch.equal(got, got.transpose(0, 1))
    for i in range(3):
        for j in range(3):
            for u, t in enumerate(lengths):
                for h in range(2):
                    wanted = naive(blocks[i][u, h].tolist(), blocks[j][u, h].tolist(), t)
                    assert abs(float(got[i, j, u, h]) - wanted) < 1e-9


def test_equal_maps_have_one_and_disjoint_rows_zero():
    identity = torch.eye(4)[None, None]
    shifted = torch.eye(4).roll(1, 0)[None, None]
    assert js_similarity(identity, identity, [4]).item() == 1.0
    assert js_similarity(identity, shifted, [4]).item() == pytest.approx(0, abs=1e-7)


def test_float32_is_near_float64():
    torch.manual_seed(1)
    a, b = (torch.randn(2, 2, 90, 90).mul(3).softmax(-1) for _ in "ab")
    exact = js_similarity(a.double(), b.double(), [90, 80])
    assert torch.allclose(js_similarity(a, b, [90, 80]), exact, rtol=0, atol=1e-6)


def test_maps_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="one shape and type"):
        js_similarity(torch.ones(1, 2, 3, 3), torch.ones(1, 1, 3, 3), [3])
