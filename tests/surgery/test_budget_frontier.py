"""The additive problem is solved exactly."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.surgery.actions import Drop, LocalAttention, ReuseAttention
from espnet_plugin.surgery.budget.frontier import Offer, frontier
from espnet_plugin.surgery.budget.moves import Move

DAMAGES = st.integers(-3, 20).map(float)  # sums of whole numbers are exact
COSTS = st.integers(-9, 2)


@st.composite
def problems(draw):
    blocks = draw(st.integers(1, 4))
    offers = []
    for block in range(blocks):
        if draw(st.booleans()):
            offers.append(Offer(Move(block, block, (Drop(block),)), draw(COSTS), draw(DAMAGES)))
        for window in range(1, draw(st.integers(1, 3))):
            local = Move(block, block, (LocalAttention(block, window),))
            offers.append(Offer(local, draw(COSTS), draw(DAMAGES)))
        for last in range(block + 1, blocks):
            if draw(st.booleans()):
                reused = tuple(ReuseAttention(b, block) for b in range(block + 1, last + 1))
                offers.append(Offer(Move(block, last, reused), draw(COSTS), draw(DAMAGES)))
    return blocks, offers


def all_plans(blocks, offers):
    """(cost, damage, moves) of every way to cover the blocks that leaves one of them."""
    keep = [Offer(Move(block, block), 0, 0.0) for block in range(blocks)]

    def covers(begin):
        if begin == blocks:
            yield ()
        for offer in [*keep, *offers]:
            if offer.move.first == begin:
                for rest in covers(offer.move.last + 1):
                    yield (offer, *rest)

    for plan in covers(0):
        if not all(offer.move.dropped for offer in plan):
            moves = tuple(offer.move for offer in plan)
            yield sum(o.cost for o in plan), sum(o.damage for o in plan), moves


@settings(deadline=None, max_examples=150)
@given(problems())
def test_it_equals_trying_every_plan(problem):
    blocks, offers = problem
    plans = list(all_plans(blocks, offers))
    best = {
        (cost, damage)
        for cost, damage, _ in plans
        if not any((c <= cost and d < damage) or (c < cost and d <= damage) for c, d, _ in plans)
    }
    points = frontier(blocks, offers)
    assert [(p.cost, p.damage) for p in points] == sorted(best, reverse=True)
    assert {(p.cost, p.damage, p.choice) for p in points} <= set(plans)


def test_keeping_everything_is_the_dearest_point_where_every_move_saves_and_harms():
    offers = [Offer(Move(b, b, (Drop(b),)), -2, 1.0 + b) for b in range(3)]
    points = frontier(3, offers)
    assert [(p.cost, p.damage) for p in points] == [(0, 0.0), (-2, 1.0), (-4, 3.0)]
    assert [m.kind for m in points[-1].choice] == ["drop", "drop", "keep"]


def test_a_problem_of_a_deep_stack_is_small_work():
    offers = [
        Offer(Move(b, b, (LocalAttention(b, w),)), -((7 * b + 3 * w) % 90) - 1, (b * w) % 11 + 0.5)
        for b, w in product(range(24), range(1, 9))
    ]
    points = frontier(24, offers)
    assert len(points) > 100 and points[0].cost > points[-1].cost
