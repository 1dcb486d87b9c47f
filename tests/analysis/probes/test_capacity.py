"""How much capacity is left."""

from __future__ import annotations

import math

import pytest
from torch import nn

from espnet_plugin.analysis.probes.capacity import kept, relative


def test_kept_is_a_plain_ratio_without_chance():
    assert kept(0.6, 0.8) == pytest.approx(0.75)
    assert kept(0.9, 0.9) == 1.0


def test_chance_is_nothing_kept():
    assert kept(0.1, 0.9, chance=0.1) == 0.0
    assert kept(0.5, 0.9, chance=0.1) == pytest.approx(0.5)
    assert kept(0.05, 0.9, chance=0.1) < 0


def test_relative_measures_both_stacks():
    original, edited = nn.Linear(2, 8), nn.Linear(2, 4)
    size = lambda stack: float(stack.out_features)  # noqa: E731
    assert relative(size, edited, original) == 0.5
    assert relative(size, edited, original, chance=2.0) == pytest.approx(1 / 3)


@pytest.mark.parametrize("values", [(0.5, 0.1, 0.1), (0.5, 0.0, 0.0), (math.nan, 0.9, 0.0)])
def test_no_capacity_to_compare_with_is_refused(values):
    with pytest.raises(ValueError, match="capacit"):
        kept(*values)
