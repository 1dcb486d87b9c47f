"""Capacity against blocks removed, with physical edits."""

from __future__ import annotations

from typing import List

import numpy as np
import pytest
import torch
from small_stacks import small_stack

from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.plan import PlanError
from espnet_plugin.surgery.pruning_curve import (
    drop_plan,
    pruning_curve,
    pruning_curves,
    removable,
)
from espnet_plugin.surgery.pruning_order import ORDERS


class Agreement:
    """How often an edited stack gives a frame the same largest channel as the original."""

    def __init__(self, stack: Stack) -> None:
        torch.manual_seed(1)
        self.speech = torch.randn(2, 900, dtype=torch.float64)
        self.wanted = self._answer(stack)
        self.seen: List[tuple] = []

    def __call__(self, stack: Stack) -> float:
        self.seen.append(stack.block_numbers)
        return float((self._answer(stack) == self.wanted).double().mean())

    @torch.no_grad()
    def _answer(self, stack: Stack) -> torch.Tensor:
        return stack.output(self.speech)[0].argmax(dim=-1)


def planted(blocks: int = 6, identities: int = 3) -> Stack:
    """A stack whose last blocks do nothing: what their parts add is zero."""
    stack = small_stack("hubert", blocks)  # normalises first: a residual stream
    for block in stack.blocks[blocks - identities :]:
        for part in (block.attention.out, block.feed_forward.contract):
            part.weight.data.zero_()
            part.bias.data.zero_()
    return stack


def test_blocks_that_do_nothing_cost_nothing():
    stack = planted(6, 3)
    curve = pruning_curve(stack, [5, 4, 3, 2, 1], Agreement(stack))
    assert curve[:4] == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)]
    assert all(value < 0.9 for _, value in curve[4:])
    assert removable(curve) == 3
    assert len(stack.blocks) == 6  # as it was


def test_edits_are_physical_and_each_from_the_stack_itself():
    stack = planted()
    capacity = Agreement(stack)
    pruning_curve(stack, [1, 4], capacity)
    assert capacity.seen == [(0, 1, 2, 3, 4, 5), (0, 2, 3, 4, 5), (0, 2, 3, 5)]


def test_one_block_is_always_left():
    stack = planted(3, 1)
    curve = pruning_curve(stack, [2, 1, 0], Agreement(stack))
    assert [removed for removed, _ in curve] == [0, 1, 2]


def test_the_same_blocks_are_measured_once():
    stack = planted()
    capacity = Agreement(stack)
    known = {}
    first = pruning_curve(stack, [1, 2, 3], capacity, known)
    again = pruning_curve(stack, [2, 1, 3], capacity, known)
    assert len(capacity.seen) == 5  # none, {1}, {1,2}, {1,2,3}; then {2} alone
    assert first[2:] == again[2:]


def test_all_orders_find_planted_identities_that_look_like_them():
    stack = planted(5, 2)
    similarity = np.eye(6)
    for block in range(5):  # only the idle ones leave their input as it is
        similarity[block, block + 1] = similarity[block + 1, block] = 1.0 if block >= 3 else 0.5
    measures = {name: similarity for name in ("cosine", "mutual k-NN", "linear CKA")}
    curves = pruning_curves(stack, Agreement(stack), measures, core=[3])
    assert set(curves) == set(ORDERS)
    for name in ("block_influence", "knn_influence", "cka", "core_first", "backward"):
        order, curve = curves[name]
        assert set(order[:2]) == {3, 4}
        assert removable(curve) == 2, name
    assert removable(curves["forward"][1]) == 0


def test_capacity_is_kept_all_the_way():
    curve = [(0, 0.9), (1, 0.88), (2, 0.5), (3, 0.9)]
    assert removable(curve) == 1
    assert removable(curve, share=0.5) == 3
    assert removable(curve, share=0.95, chance=0.5) == 1
    assert removable(curve, share=0.96, chance=0.5) == 0


def test_orders_that_make_no_sense_are_refused():
    stack = planted(3, 1)
    for order in ([7], [1, 1]):
        with pytest.raises(PlanError):
            pruning_curve(stack, order, Agreement(stack))
    with pytest.raises(ValueError, match="mutual k-NN"):
        pruning_curves(stack, Agreement(stack), {}, orders=["knn_influence"])


def test_the_plan_of_a_point():
    plan = drop_plan("wavlm", 4, [3, 1])
    assert [action.block for action in plan.actions] == [1, 3]
    assert (plan.stack.family, plan.stack.blocks) == ("wavlm", 4)
