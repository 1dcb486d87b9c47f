"""What a search for a plan has found so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Optional, Tuple

from espnet_plugin.surgery.budget.goal import Budget
from espnet_plugin.surgery.budget.healed import Trial
from espnet_plugin.surgery.budget.measure import Measurer, Times
from espnet_plugin.surgery.budget.moves import Choice, Move, plan_of
from espnet_plugin.surgery.budget.search import Search
from espnet_plugin.surgery.plan import BlockPlan

FINALISTS = 6
"""Plans of least damage whose time is taken whole, at least."""
AGREED = 0.02
"""How far the times of whole plans may be, together, from what their moves add up to."""


@dataclass
class Proposal:
    """A plan and all that was measured on the way.

    Attributes:
        limit: the most that a plan may cost, as a share of the unedited stack's cost.
        choice: the plan, of least measured damage within the limit.
        times: of plans that were timed whole; quartiles, as shares of the unedited stack's.
        named: plans of less freedom, by name.
        trial: the short healing of the finalists, if there was one.
        healed: damage of the finalists after it, on the utterances of the search and on others.
        because: the plan with the figures of each of its edits.
    """

    budget: Budget
    search: Search
    measurer: Measurer
    limit: float
    choice: Choice = ()
    times: Dict[Choice, Times] = field(default_factory=dict)
    named: Dict[str, Choice] = field(default_factory=dict)
    trial: Optional[Trial] = None
    healed: Dict[Choice, Tuple[float, Optional[float]]] = field(default_factory=dict)
    because: Dict[Move, str] = field(default_factory=dict)

    @property
    def plan(self) -> BlockPlan:
        """``choice`` with what its edits do."""
        return plan_of(self.choice, self.measurer.subject.description, self.because or None)

    def time(self, choices: Iterable[Choice]) -> None:
        """Time whole plans, if the budget is one of time."""
        if self.budget.timed:
            self.times.update(self.measurer.times(choices))

    def cost(self, choice: Choice) -> float:
        """Of a whole plan, measured, as a share of the unedited stack's.

        Raises:
            KeyError: it was not timed.
        """
        if self.budget.timed:
            return self.times[choice][1]
        which = ("parameters", "macs").index(self.budget.metric)
        return self.measurer.sizes(choice)[which] / self.measurer.sizes(())[which]

    def within(self, choice: Choice) -> bool:
        """Whether the measured cost of a whole plan is within the limit."""
        return self.cost(choice) <= self.limit

    def known(self) -> List[Choice]:
        """Plans whose cost is measured, or can be without time."""
        return list(self.times if self.budget.timed else self.search.origins)

    def best(self, goal: float, count: int = FINALISTS) -> List[Choice]:
        """The plans of least damage that should be within ``goal``, best first."""
        within = [choice for choice in self.search.origins if self.search.cost(choice) <= goal]
        return sorted(within, key=self._rank)[:count]

    def met(self, count: Optional[int] = None) -> List[Choice]:
        """Plans whose measured cost is within the limit, the least damage first."""
        return sorted(filter(self.within, self.known()), key=self._rank)[:count]

    def _rank(self, choice: Choice) -> Tuple[float, float]:
        return self.measurer.damage(choice), self.search.cost(choice)


def give_back(found: Proposal, choice: Choice) -> Choice:
    """Undo edits of a plan, or make them milder, for as long as it stays within the limit.

    A milder edit is one of the same kind at the same blocks that saves less. Every step is measured
    whole; the one that leaves least damage is taken.
    """
    search, measurer = found.search, found.measurer
    while True:
        milder: Dict[Choice, float] = {}
        for move in choice:
            if not move.actions:
                continue
            kept = search.undone(choice, move)
            for then in [kept, *search.milder(choice, move)]:
                damage = search.measured(then, "without a move" if then == kept else "milder")
                if damage < measurer.damage(choice) and search.cost(then) <= found.limit + AGREED:
                    milder[then] = damage
        ranked = sorted(milder, key=lambda then: milder[then])[: 2 * FINALISTS]
        found.time(ranked)
        choice_now = next(filter(found.within, ranked), None)
        if choice_now is None:
            return choice
        choice = choice_now
