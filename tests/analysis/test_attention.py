"""The measures against triple loops in float64, closed forms, padding and types."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis import attention
from espnet_plugin.analysis.attention import (
    MEASURES,
    cumulative_diagonality,
    diagonality,
    globalness,
    maximum_weight,
    measure,
    verticality,
)
from espnet_plugin.analysis.maps import pieces

FUNCTIONS = {
    "globalness": globalness,
    "verticality": verticality,
    "diagonality": diagonality,
    "cumulative_diagonality": cumulative_diagonality,
    "maximum_weight": maximum_weight,
}


def entropy(row):
    return -sum(p * math.log(p) for p in row if p > 0)


def naive(a, t):
    """The measures of one map, a list of lists, by the formulas as they are written."""
    rows = [[a[q][k] for k in range(t)] for q in range(t)]
    far = sum(abs(q - k) * rows[q][k] for q in range(t) for k in range(t))
    # CAD by its definition: the integral over r of the attention within r(T−1) of the diagonal
    cad = 1.0
    if t > 1:
        within = [
            sum(rows[q][k] for q in range(t) for k in range(t) if abs(q - k) <= n) / t
            for n in range(t)
        ]
        total = sum(sum(row) for row in rows) / t
        cad = sum(within[n] for n in range(t - 1)) / (t - 1) + 1.0 - total
    return {
        "globalness": sum(entropy(row) for row in rows) / t,
        "verticality": -entropy([sum(rows[q][k] for q in range(t)) / t for k in range(t)]),
        "diagonality": -far / t**2,
        "cumulative_diagonality": cad,
        "maximum_weight": sum(max(row) for row in rows) / t,
    }


def random_maps(batch, heads, frames, lengths, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(batch, heads, frames, frames, generator=generator).double()
    maps = torch.full_like(logits, math.nan)
    for u, t in enumerate(lengths):
        maps[u, :, :t, :t] = logits[u, :, :t, :t].softmax(-1)
    return maps.to(dtype)


shapes = st.integers(1, 4).flatmap(
    lambda batch: st.tuples(
        st.integers(1, 3),
        st.integers(0, 5),
        st.lists(st.integers(1, 12), min_size=batch, max_size=batch),
        st.integers(0, 2**31),
    )
)


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_equals_triple_loops_whatever_the_padding_holds(shape):
    heads, extra, lengths, seed = shape
    frames = max(lengths) + extra
    maps = random_maps(len(lengths), heads, frames, lengths, seed)
    together = measure(maps, torch.tensor(lengths))
    for u, t in enumerate(lengths):
        for h in range(heads):
            wanted = naive(maps[u, h].tolist(), t)
            for name in MEASURES:
                got = FUNCTIONS[name](maps, torch.tensor(lengths))
                assert got.dtype == torch.float64 and got.shape == (len(lengths), heads)
                assert abs(float(got[u, h]) - wanted[name]) < 1e-9
                assert torch.equal(getattr(together, name), got)


@pytest.mark.parametrize("t", [1, 2, 7, 50])
def test_closed_forms(t):
    uniform = torch.full((t, t), 1 / t, dtype=torch.float64)
    identity = torch.eye(t).double()
    column = torch.zeros(t, t).double()
    column[:, t // 2] = 1
    got = measure(torch.stack([uniform, identity, column])[None], [t])
    log = math.log(t)
    column_distance = sum(abs(q - t // 2) for q in range(t)) / t**2
    cad_uniform = 1 - (t + 1) / (3 * t) if t > 1 else 1.0
    cad_column = 1 - column_distance * t / (t - 1) if t > 1 else 1.0
    wanted = {
        "globalness": [log, 0, 0],
        "verticality": [-log, -log, 0],
        "diagonality": [-(t * t - 1) / (3 * t * t), 0, -column_distance],
        "cumulative_diagonality": [cad_uniform, 1, cad_column],
        "maximum_weight": [1 / t, 1, 1],
    }
    for name in MEASURES:
        values = getattr(got, name)[0].tolist()
        assert values == pytest.approx(wanted[name], abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("t", [9, 150])
def test_shorter_types_are_measured_as_they_are(dtype, t):
    maps = random_maps(2, 3, t + 3, [t, t - 2], 0, dtype)
    got = measure(maps, [t, t - 2])
    exact = measure(maps.double(), [t, t - 2])
    for name in MEASURES:
        assert torch.allclose(getattr(got, name), getattr(exact, name), rtol=0, atol=1e-6)


def test_pieces_cover_everything_once_when_the_cache_is_small(monkeypatch):
    lengths = [6, 6, 6, 4, 4, 6]
    maps = random_maps(6, 5, 8, lengths, 3)
    whole = measure(maps, lengths)
    for limit in (1, 40, 100, 400):
        monkeypatch.setattr(pieces, "_CPU_ELEMENTS", limit)
        for ours, theirs in zip(measure(maps, lengths), whole, strict=True):
            assert torch.allclose(ours, theirs, rtol=0, atol=1e-14)


def test_equal_lengths_stay_together_without_a_copy():
    maps = random_maps(6, 2, 5, [5] * 6, 0)
    found = list(pieces.pieces(maps, torch.tensor([5] * 6)))
    assert len(found) == 1
    assert found[0][2].data_ptr() == maps.data_ptr()


def test_gradients_are_not_followed():
    maps = torch.full((1, 1, 3, 3), 1 / 3, requires_grad=True)
    assert not globalness(maps, [3]).requires_grad
    assert not measure(maps, [3]).diagonality.requires_grad


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("lengths", [[0, 3], [3, 4], [-1, 3]])
def test_lengths_out_of_range_are_refused(function, lengths):
    with pytest.raises(ValueError, match=r"lengths\[[01]\] is (0|4|-1); it must be from 1 to 3"):
        function(torch.full((2, 1, 3, 3), 1 / 3), torch.tensor(lengths))


@pytest.mark.parametrize(
    "maps, lengths, error",
    [
        (torch.ones(2, 3, 3), [3, 3], ValueError),
        (torch.ones(2, 1, 3, 4), [3, 3], ValueError),
        (torch.ones(2, 1, 3, 3), [3], ValueError),
        (torch.ones(2, 1, 3, 3), [[3, 3]], ValueError),
        (torch.ones(2, 1, 3, 3), [3.0, 3.0], TypeError),
        (torch.ones(2, 1, 3, 3), [True, True], TypeError),
        (torch.ones(2, 1, 3, 3, dtype=torch.int64), [3, 3], TypeError),
    ],
)
def test_wrong_shapes_and_types_are_refused(maps, lengths, error):
    with pytest.raises(error):
        measure(maps, lengths)


def test_row_entropy_uses_the_buffer_it_is_given():
    piece = random_maps(1, 2, 6, [6], 1)
    buffer = torch.empty_like(piece)
    assert torch.equal(attention.row_entropy(piece, buffer), attention.row_entropy(piece))
    assert torch.isfinite(buffer).all()
