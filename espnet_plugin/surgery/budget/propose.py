"""From a budget to a plan."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence

from espnet_plugin.progress import progress
from espnet_plugin.surgery.budget.baselines import fewer_blocks
from espnet_plugin.surgery.budget.candidates import KINDS, candidates
from espnet_plugin.surgery.budget.compare import compare, rivals
from espnet_plugin.surgery.budget.goal import Budget
from espnet_plugin.surgery.budget.healed import Trial
from espnet_plugin.surgery.budget.measure import Measurer
from espnet_plugin.surgery.budget.moves import Choice, Move, allowed
from espnet_plugin.surgery.budget.proposal import AGREED, FINALISTS, Proposal, give_back
from espnet_plugin.surgery.budget.search import Search

logger = logging.getLogger(__name__)

LOOKS = 4
"""Searches at most, each for less than the one before."""
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
        tolerance: how far the measured cost of a plan may be above the budget, as a share of it;
            times are not exact.
        finalists: plans whose damage is measured after a short healing too, by which the last
            choice is made; 0: by the damage of the edits themselves. Those of ``compare``, which
            is on then, come on top.
        trial: that healing.

    Raises:
        ValueError: numbers that make no sense; finalists without a healing.
    """

    kinds: Sequence[str] = KINDS
    windows: Sequence[int] = (8, 16, 32, 64)
    longest: int = 4
    width: int = 8
    compare: bool = False
    tolerance: float = 0.0
    finalists: int = 0
    trial: Optional[Trial] = None

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 0.5:
            raise ValueError(f"the tolerance is from 0 to less than 0.5, not {self.tolerance:g}")
        if self.finalists < 0 or (self.finalists > 0) != (self.trial is not None):
            raise ValueError("finalists, 1 or more, need a healing, and a healing finalists")


def propose(measurer: Measurer, budget: Budget, options: Optional[Options] = None) -> Proposal:
    """The plan of least measured damage that was found within a budget.

    1. Every move at every block is measured: what it saves, and the damage it does alone.
    2. The additive problem is solved exactly, and plans are built move by move with the damage
       measured anew at each step; both begin a search by small changes, in which every plan is
       measured whole.
    3. The best are timed whole. Where moves save more or less in a whole plan than by themselves,
       or the best plan misses the budget, the search goes on with what was learnt.
    4. Moves of the best plan are undone for as long as it stays within the budget.
    5. With finalists, they are healed alike, and the one with the least damage afterwards is taken.

    Raises:
        BudgetError: it cannot be met; the message says what can be reached.
    """
    options = options or Options()
    outside = measurer.original_time()[1] if budget.timed else 0.0
    costs, damages = candidates(measurer, budget, options.kinds, options.windows, options.longest)
    search = Search(
        len(measurer.stack.blocks),
        costs,
        damages,
        measurer.damage,
        lambda choice: allowed(measurer.stack, choice),
        options.width,
    )
    limit = budget.cost(outside) * (1 + options.tolerance)
    found = Proposal(budget, search, measurer, limit)
    if budget.timed and any(move.kind == "drop" for move in costs):
        thinned = fewer_blocks(search.blocks)
        found.time(
            [next((c for c in thinned if search.cost(c) <= limit), thinned[-1]), thinned[-1]]
        )
        _calibrate(found)
    if options.compare or options.finalists:
        found.named = compare(found)
    goal = limit
    for _ in range(LOOKS):
        _look(found, goal)
        best = found.best(goal, max(FINALISTS, options.finalists))
        found.time(best)
        factor = _calibrate(found)
        if best and abs(factor - 1) <= AGREED and found.within(best[0]):
            break
        if best and abs(factor - 1) <= AGREED:
            goal *= min(limit / found.cost(best[0]), 0.998)
        logger.info("moves save %.3f times what was predicted; looking below %.4f", factor, goal)
    if not found.met():
        raise _unreachable(found, outside)
    found.choice = give_back(found, found.met(1)[0])
    if options.trial is not None:
        _heal(found, options.finalists, options.trial)
    _curve(found)
    found.because = _because(found)
    return found


def _look(found: Proposal, goal: float) -> None:
    """Search for plans within ``goal``."""
    search = found.search
    first, path = search.additive(goal), search.greedy(goal)
    begin = [first, search.additive(goal, fresh=True), *path[-1:], *found.named.values()]
    begin += found.best(goal)
    within = {
        choice: search.measured(choice, "additive")
        for choice in begin
        if choice is not None and search.cost(choice) <= goal
    }
    for choice in sorted(within, key=lambda c: within[c])[:2]:
        search.improve(choice, goal)


def _heal(found: Proposal, count: int, trial: Trial) -> None:
    """Choose by the damage after a short healing: among the best, and all that are compared.

    Of one kind of edit alone, too, the plan that is best healed is named. Those outside the budget
    are healed, to be compared, but not chosen.
    """
    found.trial = trial
    alone = rivals(found)
    entering = dict.fromkeys([found.choice, *found.met(count), *found.named.values()])
    entering.update(dict.fromkeys(choice for some in alone.values() for choice in some))
    for choice in progress(list(entering), "finalists healed"):
        found.healed[choice] = found.measurer.healed(choice, trial)
    for kind, some in alone.items():
        if some:
            found.named[kind] = min(some, key=lambda choice: found.healed[choice][0])
    met: List[Choice] = [choice for choice in found.healed if found.within(choice)]
    found.choice = min(met, key=lambda choice: (found.healed[choice][0], found.cost(choice)))


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


def _curve(found: Proposal) -> None:
    """Measure plans over the whole range of costs."""
    points = found.search.points()
    some = {round(i * (len(points) - 1) / max(CURVE - 1, 1)) for i in range(CURVE)}
    chosen = [points[i].choice for i in sorted(some)]
    for choice in progress(chosen, "damage of the curve"):
        found.search.measured(choice, "additive")
    found.time(chosen)


def _because(found: Proposal) -> Dict[Move, str]:
    search, measurer = found.search, found.measurer
    what = "time" if found.budget.timed else found.budget.metric
    whole = measurer.damage(found.choice)
    healed = ""
    if found.trial is not None:
        updates = found.trial.settings.max_updates
        healed = f"; of the plan {found.healed[found.choice][0]:.4f} after {updates} updates"
    lines = {}
    for move in found.choice:
        without = search.measured(search.undone(found.choice, move), "without a move")
        lines[move] = (
            f"{move}: saves {-100 * search.costs.get(move, 0.0):.1f} % of the {what}; damage alone "
            f"{search.damages.get(move, 0.0):.4f}, of the plan {whole:.4f}, without this "
            f"{without:.4f} ({measurer.unit}, measured on {len(measurer.utterances)} utterances)"
            f"{healed} [I]"
        )
    return lines


def _unreachable(found: Proposal, outside: float) -> BudgetError:
    search, budget = found.search, found.budget
    cheapest = search.cheapest()
    found.time([cheapest])
    reached = budget.reached(found.cost(cheapest), outside)
    also = f"; {100 * outside:.0f} % of the time is spent outside the blocks" if outside else ""
    moves = ", ".join(str(move) for move in cheapest if move.actions) or "nothing"
    return BudgetError(
        f"{budget} cannot be met with these edits: the most that can be reached is "
        f"{budget.metric}={reached:.3g} ({moves}){also}"
    )
