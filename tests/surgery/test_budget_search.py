"""The search compares measured damage, whatever the additive problem says."""

from __future__ import annotations

import pytest

from espnet_plugin.surgery.actions import Drop, LocalAttention
from espnet_plugin.surgery.budget.baselines import alone, fewer_blocks, uniform
from espnet_plugin.surgery.budget.moves import Move, swapped, untouched
from espnet_plugin.surgery.budget.search import Search

BLOCKS = 5
GOAL = 0.601
DROPS = [Move(b, b, (Drop(b),)) for b in range(BLOCKS)]
LOCAL = [Move(b, b, (LocalAttention(b, 4),)) for b in range(BLOCKS)]
COSTS = {**{m: -0.2 for m in DROPS}, **{m: -0.05 for m in LOCAL}}
ALONE = {
    **{m: d for m, d in zip(DROPS, [1.0, 0.1, 0.11, 0.5, 0.6], strict=True)},
    **{m: 0.02 for m in LOCAL},
}


def interacting(choice):
    """Blocks 1 and 2 do the same work: dropping both is a disaster."""
    gone = {m.first for m in choice if m.kind == "drop"}
    return sum(ALONE.get(m, 0.0) for m in choice) + (5.0 if {1, 2} <= gone else 0.0)


def make(measure=interacting, width=8):
    measured = []

    def counted(choice):
        measured.append(choice)
        return measure(choice)

    return Search(BLOCKS, COSTS, ALONE, counted, width=width), measured


def dropped(choice):
    return [m.first for m in choice if m.kind == "drop"]


def test_the_additive_problem_falls_for_the_interaction_and_greedy_does_not():
    search, _ = make()
    assert dropped(search.additive(GOAL, DROPS)) == [1, 2]
    path = search.greedy(GOAL, DROPS)
    assert [dropped(choice) for choice in path] == [[1], [1, 3]]
    assert search.cost(path[-1]) == pytest.approx(0.6)


def test_small_changes_find_the_best_plan_from_the_worst():
    search, _ = make()
    start = search.additive(GOAL, DROPS)
    best = search.improve(start, GOAL)
    assert search.cost(best) <= GOAL
    assert interacting(start) > 5 and interacting(best) <= 0.6  # as two drops do, or better


def test_greedy_goes_back_on_a_move_where_another_saves_more():
    search, _ = make()
    path = search.greedy(GOAL)
    assert [m.kind for m in path[4]] == ["local_attention"] * 5
    # one drop and four windows cost as much as two drops and harm less
    assert [m.kind for m in path[-1]] == ["local_attention", "drop"] + ["local_attention"] * 3
    assert search.cost(path[-1]) <= GOAL


def test_only_whole_plans_that_were_measured_are_compared():
    search, measured = make()
    search.improve(search.greedy(0.5)[-1], 0.5)
    assert set(search.origins) == set(measured)
    assert set(search.origins.values()) == {"greedy", "local search", "without a move"}


def test_a_goal_out_of_reach_has_no_plan():
    search, _ = make()
    assert search.additive(0.1) is None
    assert search.cost(search.greedy(0.1)[-1]) > 0.1  # one block is always left


def test_what_the_stack_does_not_allow_is_never_measured():
    def allowed(choice):
        return 1 not in dropped(choice)

    measured = []
    search = Search(
        BLOCKS, COSTS, ALONE, lambda c: measured.append(c) or interacting(c), allowed, width=3
    )
    search.improve(search.greedy(0.55)[-1], 0.55)
    assert measured and all(map(allowed, measured))
    additive = search.additive(GOAL)
    assert additive is None or allowed(additive)
    assert allowed(search.cheapest())


def test_what_is_kept_of_a_uniformly_thinned_stack_lies_evenly():
    assert uniform(12, 4) == [1, 4, 7, 10]
    assert uniform(6, 3) == [1, 3, 4]
    assert uniform(4, 0) == [] and uniform(4, 3) == [1, 2, 3]
    with pytest.raises(ValueError, match="4 of 4"):
        uniform(4, 4)


def test_fewer_and_fewer_blocks_in_an_order_or_evenly():
    assert [dropped(choice) for choice in fewer_blocks(5, [4, 3])] == [[], [4], [3, 4]]
    evenly = fewer_blocks(5)
    assert [dropped(choice) for choice in evenly] == [uniform(5, count) for count in range(5)]
    assert all([move.first for move in choice] == list(range(5)) for choice in evenly)


def test_one_kind_alone_keeps_to_its_freedom():
    search, _ = make()
    drops = alone(search, "drop", GOAL)
    assert interacting(drops[0]) == pytest.approx(0.6)  # not both of 1 and 2
    assert all({m.kind for m in choice} == {"keep", "drop"} for choice in drops)
    damages = [interacting(choice) for choice in drops]
    assert damages == sorted(damages) and len(drops) > 1
    (windows,) = alone(search, "local_attention", GOAL)
    assert search.cost(windows) == pytest.approx(0.75)  # all it can do
    assert alone(search, "prune_heads", GOAL) == []
    assert not search.origins  # a search of its own


def test_milder_moves_are_of_the_same_kind_and_place_and_save_less():
    some = [Move(b, b, (LocalAttention(b, 8),)) for b in range(BLOCKS)]
    wide = Move(0, 1, (LocalAttention(0, 8),))
    costs = {**COSTS, **{m: -0.03 for m in some}, wide: -0.1}
    search = Search(BLOCKS, costs, {m: 0.1 for m in costs}, interacting)
    now = untouched(BLOCKS)
    assert search.milder(swapped(now, LOCAL[1]), LOCAL[1]) == [swapped(now, some[1])]
    assert search.milder(swapped(now, DROPS[2]), DROPS[2]) == []
    within = search.milder(swapped(now, wide), wide)
    assert set(within) == {swapped(now, m) for m in (LOCAL[0], LOCAL[1], some[0], some[1])}
