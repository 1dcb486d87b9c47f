"""Sums that are the same bits in any order."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis.sums.exact_sum import ExactSum

values = st.lists(
    st.floats(-4000, 4000, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 2**-18),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(values, st.integers(0, 2**31), st.integers(1, 5))
def test_any_split_and_order_gives_the_exact_mean(numbers, seed, parts):
    exact = float(sum(map(Fraction, numbers)) / len(numbers))
    shuffled = random.Random(seed).sample(numbers, len(numbers))
    merged = ExactSum(())
    for part in range(parts):
        sums = ExactSum(())
        sums.add(torch.tensor(shuffled[part::parts], dtype=torch.float64))
        merged.merge(sums)
    whole = ExactSum(())
    for number in numbers:
        whole.add(torch.tensor([number], dtype=torch.float64))
    assert merged.count == len(numbers)
    assert torch.equal(merged.mean(), whole.mean())
    assert float(merged.mean()) == pytest.approx(exact, rel=1e-15, abs=2**-68)


def test_many_small_parts_carry():
    sums = ExactSum((2,))
    for _ in range(300):
        sums.add(torch.tensor([[-1 / 3, 1 / 7]], dtype=torch.float64).expand(10, 2))
    assert sums.mean().tolist() == pytest.approx([-1 / 3, 1 / 7], rel=1e-15)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 4096.0, -5000.0])
def test_what_cannot_be_added_changes_nothing(bad):
    sums = ExactSum((1,))
    sums.add(torch.ones(1, 1).double())
    with pytest.raises(ValueError, match="not finite or not below"):
        sums.add(torch.tensor([[0.5], [bad]], dtype=torch.float64))
    assert sums.count == 1 and sums.mean().item() == 1.0


def test_shapes_must_fit_and_an_empty_sum_has_no_mean():
    sums = ExactSum((2,))
    with pytest.raises(ValueError):
        sums.add(torch.zeros(3, 4).double())
    with pytest.raises(ValueError):
        sums.merge(ExactSum((3,)))
    with pytest.raises(ValueError, match="no mean"):
        sums.mean()


def test_state_dict_round_trip(tmp_path):
    sums = ExactSum((2, 2))
    sums.add(torch.rand(5, 2, 2).double())
    torch.save(sums.state_dict(), tmp_path / "sums.pt")
    back = ExactSum.from_state_dict(torch.load(tmp_path / "sums.pt"))
    assert torch.equal(back.mean(), sums.mean()) and back.count == 5


def test_sums_of_inference_mode_go_on_outside_it():
    sums = ExactSum((1,))
    with torch.inference_mode():
        sums.add(torch.ones(2, 1).double())
    sums.add(torch.ones(1, 1).double())
    other = ExactSum((1,))
    other.merge(sums)
    assert other.mean().item() == 1.0 and other.count == 3
