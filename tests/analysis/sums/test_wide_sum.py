"""Exact sums of any scale against Python's own."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis.sums.wide_sum import WideSum

numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


def summed(values) -> WideSum:
    found = WideSum((1,))
    for value in values:
        found.add(torch.tensor([value], dtype=torch.float64))
    return found


@settings(max_examples=150, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_sum_is_fsum_in_any_order_and_split(values, random) -> None:
    expected = float(sum((Fraction(value) for value in values), Fraction(0)))
    assert expected == math.fsum(values)
    assert float(summed(values).total()) == expected
    random.shuffle(values)
    first = summed(values[: len(values) // 2])
    second = WideSum.from_state_dict(summed(values[len(values) // 2 :]).state_dict())
    second.merge(first)
    assert float(second.total()) == expected


@pytest.mark.parametrize("value", [5e-324, -2.2e-308, 1.7976931348623157e308, 1.0, -0.1, 0.0])
def test_the_ends_of_the_range(value: float) -> None:
    assert float(summed([value]).total()) == value
    assert float(summed([value, 1e-3, -value]).total()) == 1e-3


def test_shapes_and_what_is_refused() -> None:
    found = WideSum((2, 3))
    values = torch.arange(6, dtype=torch.float64).reshape(2, 3) - 2.5
    with torch.inference_mode():
        found.add(values)
    found.add(values)
    assert torch.equal(found.total(), 2 * values)
    with pytest.raises(ValueError, match=r"\(3,\), sums \(2, 3\)"):
        found.add(values[0])
    with pytest.raises(ValueError, match="not finite"):
        found.add(values / 0)
    with pytest.raises(ValueError, match="sums are"):
        found.merge(WideSum((2,)))
    assert torch.equal(found.total(), 2 * values)
    with pytest.raises(OverflowError):
        summed([1.7e308, 1.7e308]).total()
