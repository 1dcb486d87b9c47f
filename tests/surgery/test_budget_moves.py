"""Moves, and the plans that they make."""

from __future__ import annotations

import pytest
from small_stacks import KINDS, small_stack

from espnet_plugin.surgery.actions import Drop, LocalAttention, PruneHeads, ReuseAttention, Share
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.budget.moves import (
    Move,
    allowed,
    key_of,
    plan_of,
    possible_moves,
    swapped,
    untouched,
)
from espnet_plugin.surgery.plan import PlanError, StackDescription

GROUP = Move(1, 3, (ReuseAttention(2, 1), ReuseAttention(3, 1)))


def test_a_move_takes_the_place_of_what_it_meets_and_the_rest_is_kept():
    choice = swapped(untouched(5), GROUP)
    assert [(m.first, m.last, m.kind) for m in choice] == [
        (0, 0, "keep"), (1, 3, "reuse_attention"), (4, 4, "keep"),
    ]  # fmt: skip
    dropped = swapped(choice, Move(2, 2, (Drop(2),)))
    assert [m.kind for m in dropped] == ["keep", "keep", "drop", "keep", "keep"]
    assert swapped(dropped, Move(2, 2)) == untouched(5)


def test_the_name_of_a_plan_is_that_of_its_actions():
    drop = Move(2, 2, (Drop(2),))
    assert key_of((drop,)) == key_of(swapped(untouched(4), drop))
    others = [(), (Move(1, 1, (Drop(1),)),), (Move(2, 2, (LocalAttention(2, 4),)),), (GROUP,)]
    assert len({key_of((drop,)), *map(key_of, others)}) == 5


def test_a_plan_has_the_line_of_a_move_for_each_of_its_actions():
    stack = StackDescription("conformer", 5)
    choice = swapped(untouched(5), GROUP)
    plan = plan_of(choice, stack, {move: str(move) for move in choice})
    assert plan.actions == GROUP.actions
    assert plan.because == ("1-3 reuse_attention", "1-3 reuse_attention")
    with pytest.raises(PlanError):
        plan_of([Move(0, 0, (Drop(0),))], StackDescription("conformer", 1))


def test_moves_say_what_they_are():
    assert str(Move(2, 2, (PruneHeads(2, (0, 3)),))) == "2 prune_heads (heads [0, 3])"
    assert str(Move(2, 2, (LocalAttention(2, 8),))) == "2 local_attention (window 8)"
    assert str(Move(1, 2, (Share(2, 1),))) == "1-2 share"
    assert str(Move(1, 1)) == "1 keep"


@pytest.mark.parametrize("kind", KINDS)
def test_every_possible_move_can_be_carried_out(kind):
    stack = small_stack(kind, 3)
    moves = possible_moves(stack, [4], {1: [(0,), (0, 1, 2, 3)]}, 3)
    kinds = [move.kind for move in moves]
    assert (kinds.count("drop"), kinds.count("local_attention")) == (3, 3)
    assert (kinds.count("prune_heads"), kinds.count("share")) == (2, 2)
    assert kinds.count("reuse_attention") == 3
    for move in moves:
        edited = apply_plan(stack, plan_of((move,), StackDescription(stack.family, 3)))
        assert len(edited.blocks) == 3 - (move.kind == "drop")


def test_what_an_edited_stack_does_not_allow_is_left_out():
    stack = small_stack("conformer", 4)
    groups = Move(1, 2, (ReuseAttention(2, 1),))
    edited = apply_plan(stack, plan_of((groups,), StackDescription("conformer", 4)))
    assert not allowed(edited, (Move(2, 2, (LocalAttention(2, 4),)),))
    assert not allowed(edited, (Move(1, 1, (Drop(1),)),))
    moves = possible_moves(edited, [4], {}, 2)
    assert {m.first for m in moves if m.kind == "local_attention"} == {0, 1, 3}
