"""From a budget to a plan."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence

from espnet_plugin.analysis.pruning_order import pruning_order
from espnet_plugin.progress import progress
from espnet_plugin.surgery.budget.baselines import baselines
from espnet_plugin.surgery.budget.candidates import KINDS, candidates
from espnet_plugin.surgery.budget.goal import Budget
from espnet_plugin.surgery.budget.measure import Measurer, Times
from espnet_plugin.surgery.budget.moves import Choice, Move, allowed, plan_of
from espnet_plugin.surgery.budget.search import Search
from espnet_plugin.surgery.orders import measure_similarities
from espnet_plugin.surgery.plan import BlockPlan

logger = logging.getLogger(__name__)

FINALISTS = 6
"""Plans of least damage whose time is taken whole."""
LOOKS = 4
"""Searches at most, each for less than the one before."""
AGREED = 0.02
"""How far the times of whole plans may be, together, from what their moves add up to."""
CURVE = 8
"""Points of the additive frontier that are measured, over the whole range of costs."""


class BudgetError(ValueError):
    """A budget that cannot be met; the message says what can be reached."""


@dataclass
class Options:
    """How to look for a plan.

    Attributes:
        kinds, windows, longest: see :func:`candidates`.
        width: plans that are measured at each step of the search.
        compare: measure plans of less freedom too, and begin the search from them as well.
    """

    kinds: Sequence[str] = KINDS
    windows: Sequence[int] = (8, 16, 32, 64)
    longest: int = 4
    width: int = 8
    compare: bool = False


@dataclass
class Proposal:
    """A plan and all that was measured on the way.

    Attributes:
        plan: of least measured damage within the budget, with the figures.
        choice: the same.
        search: every plan that was measured, and the moves.
        times: of plans that were timed whole; quartiles, as shares of the unedited stack's.
        named: plans of less freedom, by name.
        limit: the most that a plan may cost, as a share of the unedited stack's cost.
    """

    budget: Budget
    plan: BlockPlan
    choice: Choice
    search: Search
    measurer: Measurer
    times: Dict[Choice, Times] = field(default_factory=dict)
    named: Dict[str, Choice] = field(default_factory=dict)
    limit: float = 1.0

    def within(self, choice: Choice) -> bool:
        """Whether the measured cost of a whole plan is within the budget."""
        return _cost(self, choice) <= self.limit


def propose(measurer: Measurer, budget: Budget, options: Optional[Options] = None) -> Proposal:
    """The plan of least measured damage that was found within a budget.

    1. Every move at every block is measured: what it saves, and the damage it does alone.
    2. The additive problem is solved exactly, and plans are built move by move with the damage
       measured anew at each step; both begin a search by small changes, in which every plan is
       measured whole.
    3. The best are timed whole. Where moves save more or less in a whole plan than by themselves,
       or the best plan misses the budget, the search goes on with what was learnt.
    4. Moves of the best plan are undone for as long as it stays within the budget.

    Raises:
        BudgetError: it cannot be met; the message says what can be reached.
    """
    options = options or Options()
    blocks = len(measurer.stack.blocks)
    outside = measurer.original_time()[1] if budget.timed else 0.0
    limit = budget.cost(outside)
    costs, damages = candidates(measurer, budget, options.kinds, options.windows, options.longest)
    search = Search(
        blocks,
        costs,
        damages,
        measurer.damage,
        lambda choice: allowed(measurer.stack, choice),
        options.width,
    )
    found = Proposal(budget, plan_of((), measurer.subject.description), (), search, measurer)
    if budget.timed:
        thinned = baselines(search, {}).get("uniform_drop")
        if thinned is not None:
            found.times.update(measurer.times(thinned(share) for share in (limit, 0.0)))
            _calibrate(found)
    if options.compare:
        found.named = _compare(found, limit)
    found.limit = goal = limit
    for _ in range(LOOKS):
        _look(found, goal)
        best = _best(found, goal)
        if budget.timed:
            found.times.update(measurer.times(best))
        factor = _calibrate(found)
        if best and abs(factor - 1) <= AGREED and _cost(found, best[0]) <= limit:
            break
        if best and abs(factor - 1) <= AGREED:
            goal *= min(limit / _cost(found, best[0]), 0.998)
        logger.info("moves save %.3f times what was predicted; looking below %.4f", factor, goal)
    within = [c for c in _known(found) if _cost(found, c) <= limit]
    if not within:
        raise _unreachable(found, outside)
    found.choice = min(within, key=lambda c: (measurer.damage(c), _cost(found, c)))
    _give_back(found)
    _curve(found)
    found.plan = plan_of(found.choice, measurer.subject.description, _because(found))
    return found


def _look(found: Proposal, goal: float) -> None:
    """Search for plans within ``goal``."""
    search = found.search
    first, path = search.additive(goal), search.greedy(goal)
    begin = [first, search.additive(goal, fresh=True), *path[-1:], *found.named.values()]
    begin += _best(found, goal)
    within = {
        choice: search.measured(choice, "additive")
        for choice in begin
        if choice is not None and search.cost(choice) <= goal
    }
    for choice in sorted(within, key=lambda c: within[c])[:2]:
        search.improve(choice, goal)


def _compare(found: Proposal, limit: float) -> Dict[str, Choice]:
    """Plans of less freedom within the limit, measured; the cheapest where there is none."""
    named: Dict[str, Choice] = {}
    for name, way in baselines(found.search, _orders(found)).items():
        goal = limit
        for _ in range(LOOKS):
            choice = way(goal)
            if found.budget.timed:
                found.times.update(found.measurer.times([choice]))
            if _cost(found, choice) <= limit or named.get(name) == choice:
                break
            named[name] = choice
            goal *= min(limit / _cost(found, choice), 0.998)
        named[name] = choice
        found.search.measured(choice, name)
    return named


def _orders(found: Proposal) -> Dict[str, Sequence[int]]:
    """Pruning orders to compare with, where blocks may be dropped."""
    if not any(move.kind == "drop" for move in found.search.costs):
        return {}
    stack, speech = found.measurer.stack, found.measurer.utterances
    cosine = measure_similarities(stack, speech, neighbours=1)["cosine"]
    return {"block_influence": pruning_order("block_influence", len(stack.blocks), cosine)}


def _known(found: Proposal) -> List[Choice]:
    """Plans whose cost is measured, or can be without time."""
    return list(found.times if found.budget.timed else found.search.origins)


def _calibrate(found: Proposal) -> float:
    """Scale what moves save so that plans that were timed whole are predicted best.

    Blocks that are run by themselves find their data in the cache, and take another time than in
    the row. Least squares over all plans timed whole so far.

    Returns:
        The factor.
    """
    pairs = [(1 - found.search.cost(c), 1 - times[1]) for c, times in found.times.items()]
    squares = sum(predicted**2 for predicted, _ in pairs)
    if squares == 0:
        return 1.0
    factor = sum(predicted * measured for predicted, measured in pairs) / squares
    if factor <= 0:
        return 1.0
    found.search.rescale(factor)
    return factor


def _give_back(found: Proposal) -> None:
    """Undo moves of the chosen plan for as long as it stays within the limit, measured whole."""
    search, measurer = found.search, found.measurer
    while True:
        without = {
            choice: search.measured(choice, "without a move")
            for move in found.choice
            if move.actions
            for choice in [search.undone(found.choice, move)]
        }
        milder = [c for c in without if without[c] < measurer.damage(found.choice)]
        if found.budget.timed:
            found.times.update(measurer.times(milder))
        milder = [choice for choice in milder if found.within(choice)]
        if not milder:
            return
        found.choice = min(milder, key=lambda choice: without[choice])


def _best(found: Proposal, goal: float) -> List[Choice]:
    """The plans of least damage that should be within ``goal``, best first."""
    search, measurer = found.search, found.measurer
    within = [choice for choice in search.origins if search.cost(choice) <= goal]
    return sorted(within, key=lambda c: (measurer.damage(c), search.cost(c)))[:FINALISTS]


def _cost(found: Proposal, choice: Choice) -> float:
    """Of the whole plan, measured."""
    if found.budget.timed:
        return found.times[choice][1]
    which = ("parameters", "macs").index(found.budget.metric)
    return found.measurer.sizes(choice)[which] / found.measurer.sizes(())[which]


def _curve(found: Proposal) -> None:
    """Measure plans over the whole range of costs."""
    points = found.search.points()
    some = {round(i * (len(points) - 1) / max(CURVE - 1, 1)) for i in range(CURVE)}
    chosen = [points[i].choice for i in sorted(some)]
    for choice in progress(chosen, "damage of the curve"):
        found.search.measured(choice, "additive")
    if found.budget.timed:
        found.times.update(found.measurer.times(chosen))


def _because(found: Proposal) -> Dict[Move, str]:
    search, measurer = found.search, found.measurer
    what = "time" if found.budget.timed else found.budget.metric
    whole = measurer.damage(found.choice)
    unit = "nats/frame" if measurer.subject.experiment is not None else "1-cosine"
    lines = {}
    for move in found.choice:
        without = search.measured(search.undone(found.choice, move), "without a move")
        lines[move] = (
            f"{move}: saves {-100 * search.costs.get(move, 0.0):.1f} % of the {what}; damage alone "
            f"{search.damages.get(move, 0.0):.4f}, of the plan {whole:.4f}, without this "
            f"{without:.4f} ({unit}, measured on {len(measurer.utterances)} utterances) [I]"
        )
    return lines


def compared_plans(found: Proposal) -> Dict[str, BlockPlan]:
    """The plans of less freedom that are within the budget; the others below ``short/``."""
    plans = {}
    for name, choice in found.named.items():
        damage = found.measurer.damage(choice)
        met = "within" if found.within(choice) else "NOT within"
        line = f"as compared with a plan for {found.budget} ({met} it); damage {damage:.4f} [I]"
        lines = {move: f"{move}: {name}, {line}" for move in choice}
        plan = plan_of(choice, found.measurer.subject.description, lines)
        plans[name if found.within(choice) else f"short/{name}"] = plan
    return plans


def _unreachable(found: Proposal, outside: float) -> BudgetError:
    search, measurer, budget = found.search, found.measurer, found.budget
    cheapest = search.cheapest()
    if budget.timed:
        found.times.update(measurer.times([cheapest]))
    reached = budget.reached(_cost(found, cheapest), outside)
    also = f"; {100 * outside:.0f} % of the time is spent outside the blocks" if outside else ""
    moves = ", ".join(str(move) for move in cheapest if move.actions) or "nothing"
    return BudgetError(
        f"{budget} cannot be met with these edits: the most that can be reached is "
        f"{budget.metric}={reached:.3g} ({moves}){also}"
    )
