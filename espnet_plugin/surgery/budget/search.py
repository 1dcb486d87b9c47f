"""A search for the plan of least measured damage within a cost.

Damages of moves do not add up: what a block does for the next one is missed by both. So the
additive problem, which :mod:`espnet_plugin.surgery.budget.frontier` solves exactly, only gives
plans to begin with and says what to try first; what is compared is always the damage of the whole
plan.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Callable, Dict, List, Mapping, Optional, Sequence

from espnet_plugin.surgery.budget.frontier import Offer, Point, frontier
from espnet_plugin.surgery.budget.moves import Choice, Move, swapped, untouched

UNITS = 4096
"""The cost of the unedited stack, in the whole numbers of the additive problem."""


class Search:
    """What is known of the moves of one stack, and ways to put them together.

    Args:
        blocks: of the stack.
        costs: what each move adds to the cost, as a share of the unedited stack's; below 0.
        damages: of each move alone.
        measure: the damage of a whole plan.
        allowed: whether the stack can be edited so.
        width: how many of the most promising plans are measured at each step.

    Attributes:
        origins: every plan that was measured here, with what led to it first.
    """

    def __init__(
        self,
        blocks: int,
        costs: Mapping[Move, float],
        damages: Mapping[Move, float],
        measure: Callable[[Choice], float],
        allowed: Callable[[Choice], bool] = lambda choice: True,
        width: int = 8,
    ) -> None:
        self.blocks, self.width = blocks, width
        self.costs, self.damages = dict(costs), dict(damages)
        self.origins: Dict[Choice, str] = {}
        self._measure, self._allowed = measure, allowed
        self._now = dict(damages)  # what each move did when it was last measured among others

    def cost(self, choice: Sequence[Move]) -> float:
        """As a share of the unedited stack's, if costs add up."""
        return 1.0 + sum(self.costs.get(move, 0.0) for move in choice)

    def rescale(self, factor: float) -> None:
        """Multiply what every move saves."""
        self.costs = {move: cost * factor for move, cost in self.costs.items()}

    def only(self, moves: Sequence[Move]) -> Search:
        """A search of its own with some of the moves; what it measures is not noted here."""
        costs, damages = ({m: one[m] for m in moves} for one in (self.costs, self.damages))
        return Search(self.blocks, costs, damages, self._measure, self._allowed, self.width)

    def predicted(self, choice: Sequence[Move]) -> float:
        """Damage, if the damages of moves alone added up."""
        return sum(self.damages.get(move, 0.0) for move in choice)

    def measured(self, choice: Choice, origin: str) -> float:
        """Damage of the whole plan."""
        self.origins.setdefault(choice, origin)
        return self._measure(choice)

    # -- the additive problem -----------------------------------------------------------------

    def points(self, moves: Optional[Sequence[Move]] = None, fresh: bool = False) -> List[Point]:
        """The frontier of the additive problem, costs in :data:`UNITS` rounded up.

        Args:
            moves: those allowed; None: all.
            fresh: with the damage each move did among others when it was last measured so.
        """
        damages = self._now if fresh else self.damages
        offers = [
            Offer(move, math.ceil(self.costs[move] * UNITS), damages[move])
            for move in (self.costs if moves is None else moves)
        ]
        return frontier(self.blocks, offers)

    def additive(
        self, goal: float, moves: Optional[Sequence[Move]] = None, fresh: bool = False
    ) -> Optional[Choice]:
        """The plan of least predicted damage that costs at most ``goal``; None: there is none."""
        most = math.floor((goal - 1.0) * UNITS)
        points = sorted(self.points(moves, fresh), key=lambda point: point.damage)
        within = (p.choice for p in points if p.cost <= most and self._allowed(p.choice))
        return next(within, None)

    def cheapest(self, moves: Optional[Sequence[Move]] = None) -> Choice:
        """The plan of the additive problem that costs least."""
        allowed = (p.choice for p in reversed(self.points(moves)) if self._allowed(p.choice))
        return next(allowed, untouched(self.blocks))

    # -- one move after the other -------------------------------------------------------------

    def greedy(self, goal: float, moves: Optional[Sequence[Move]] = None) -> List[Choice]:
        """Take, again and again, the move of least measured damage per cost saved.

        At each step the most promising moves are measured anew together with all that was taken
        before. What a move saves beyond the goal does not count.

        Args:
            goal: a cost.
            moves: those allowed; None: all.

        Returns:
            The plans on the way, the last one within the goal if that can be reached so.
        """
        pool = list(self.costs if moves is None else moves)
        now = untouched(self.blocks)
        damage = 0.0
        path: List[Choice] = []
        while self.cost(now) > goal:
            excess = self.cost(now) - goal
            options = []
            for move in pool:
                then = swapped(now, move)
                saved = min(self.cost(now) - self.cost(then), excess)
                if saved > 1e-9 and self._possible(then):
                    added = self._now[move] - sum(
                        self._now.get(m, 0.0) for m in now if m not in then
                    )
                    options.append((max(added, 0.0) / saved, saved, move, then))
            if not options:
                return path
            options.sort(key=lambda option: option[0])
            best = []
            for _, saved, move, then in options[: self.width]:
                found = self.measured(then, "greedy")
                if set(now) >= set(untouched(self.blocks)[move.first : move.last + 1]):
                    self._now[move] = max(found - damage, 0.0)
                best.append(((found - damage) / saved, found, then))
            _, damage, now = min(best, key=lambda option: option[:2])
            path.append(now)
        return path

    # -- small changes ------------------------------------------------------------------------

    def improve(self, choice: Choice, goal: float, rounds: int = 50) -> Choice:
        """Change one or two moves at a time as long as that lowers the measured damage.

        Args:
            choice: within the goal.
            goal: a cost.
            rounds: at most so many changes.
        """
        best, damage = choice, self.measured(choice, "local search")
        for _ in range(rounds):
            self._weigh(best, damage)
            better = None
            for then in self._neighbours(best, goal):
                found = self.measured(then, "local search")
                if found < damage:
                    better, damage = then, found
            if better is None:
                return best
            best = better
        return best

    def _weigh(self, choice: Choice, damage: float) -> None:
        """What each move does in ``choice``: the damage that goes when it is undone."""
        for move in choice:
            if move.actions:
                without = self.undone(choice, move)
                self._now[move] = max(damage - self.measured(without, "without a move"), 0.0)

    def undone(self, choice: Choice, move: Move) -> Choice:
        """``choice`` with the blocks of ``move`` kept."""
        for block in range(move.first, move.last + 1):
            choice = swapped(choice, Move(block, block))
        return choice

    def milder(self, choice: Choice, move: Move) -> List[Choice]:
        """``choice`` with moves of the same kind in the place of ``move`` that save less."""
        kept = self.undone(choice, move)
        others = [
            other
            for other in self.costs
            if other.kind == move.kind
            and (move.first <= other.first and other.last <= move.last)
            and self.costs[other] > self.costs.get(move, 0.0)
        ]
        return [then for other in others if self._possible(then := swapped(kept, other))]

    def _neighbours(self, choice: Choice, goal: float) -> List[Choice]:
        """The most promising plans one or two changes away, best first."""
        kept = [m for block in range(self.blocks) for m in [Move(block, block)] if m not in choice]
        steps = [swapped(choice, move) for move in [*kept, *self.costs]]
        steps = [then for then in dict.fromkeys(steps) if then != choice]
        cheaper = [then for then in steps if self.cost(then) < self.cost(choice)]
        milder = [then for then in steps if self._guess(then) < self._guess(choice)]
        pairs = (self._both(choice, one, other) for one, other in product(milder, cheaper))
        found = {
            then: self._guess(then)
            for then in [*steps, *pairs]
            if then not in self.origins and self.cost(then) <= goal
        }
        ranked = sorted(found, key=lambda then: (found[then], self.cost(then)))
        return [then for then in ranked[: 4 * self.width] if self._possible(then)][: self.width]

    def _both(self, choice: Choice, one: Choice, other: Choice) -> Choice:
        """What ``one`` changed in ``choice``, and then what ``other`` changed."""
        for move in other:
            if move not in choice:
                one = swapped(one, move)
        return one

    def _guess(self, choice: Choice) -> float:
        return sum(self._now.get(move, 0.0) for move in choice)

    def _possible(self, choice: Choice) -> bool:
        return not all(move.dropped for move in choice) and self._allowed(choice)
