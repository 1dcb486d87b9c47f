"""The best plans of less freedom within a budget, each as close to it as it can come."""

from __future__ import annotations

from typing import Dict, List, Sequence

from espnet_plugin.surgery.budget.baselines import ALONE, alone, fewer_blocks
from espnet_plugin.surgery.budget.moves import Choice, plan_of
from espnet_plugin.surgery.budget.proposal import AGREED, Proposal, give_back
from espnet_plugin.surgery.orders import measure_similarities
from espnet_plugin.surgery.plan import BlockPlan
from espnet_plugin.surgery.pruning_order import pruning_order

LOOKS = 4
"""Searches for one plan at most, each for less cost than the one before."""
RIVALS = 3
"""Plans of one kind of edit alone that are timed whole, and healed where finalists are."""


def compare(found: Proposal) -> Dict[str, Choice]:
    """Plans of less freedom within the limit, by name; the cheapest where there is none within it.

    ``uniform_drop`` and ``block_influence`` drop as few blocks as need be, by whole plans measured;
    of one kind of edit alone the best plan found, with edits given back until it just meets the
    limit, so that plans of about one cost are compared.
    """
    search = found.search
    named: Dict[str, Choice] = {}
    if any(move.kind == "drop" for move in search.costs):
        stack, speech = found.measurer.stack, found.measurer.utterances
        cosine = measure_similarities(stack, speech, neighbours=1)["cosine"]
        order = pruning_order("block_influence", search.blocks, cosine)
        named["uniform_drop"] = fewest(found, fewer_blocks(search.blocks))
        named["block_influence"] = fewest(found, fewer_blocks(search.blocks, order))
    for kind in ALONE:
        choice = _alone(found, kind)
        if choice:
            named[kind] = choice
    for name, choice in named.items():
        search.measured(choice, name)
    return named


def fewest(found: Proposal, choices: Sequence[Choice]) -> Choice:
    """The first of plans, each cheaper than the one before, that is within the limit as measured.

    The last one if none is. Timed are those about where it should be.
    """
    costs = [found.search.cost(choice) for choice in choices]
    at = next((i for i, cost in enumerate(costs) if cost <= found.limit), len(choices) - 1)
    found.time([choices[at]])
    while not found.within(choices[at]) and at + 1 < len(choices):
        at += 1
        found.time([choices[at]])
    while at > 0 and found.within(choices[at]):
        found.time([choices[at - 1]])
        if not found.within(choices[at - 1]):
            break
        at -= 1
    return choices[at]


def _alone(found: Proposal, kind: str) -> Choice:
    """With one kind of edit; () if there is none.

    What moves save is not known exactly, so the search begins with a goal a little above the limit.
    """
    goal = found.limit * (1 + AGREED)
    known: List[Choice] = []
    for _ in range(LOOKS):
        choices = alone(found.search, kind, goal)[:RIVALS]
        found.time(choices)
        known += choices
        met = [choice for choice in known if found.within(choice)]
        if met or not choices or found.search.cost(choices[0]) > goal:
            break
        goal = min(goal, found.limit) * 0.99
    if not known:
        return ()
    if not met:
        return known[-1]
    return give_back(found, min(met, key=found.measurer.damage))


def rivals(found: Proposal) -> Dict[str, List[Choice]]:
    """Of each kind of edit alone that is compared, the best plans that are within the limit."""
    kinds = {c: {move.kind for move in c if move.actions} for c in found.met()}
    return {
        kind: [choice for choice, its in kinds.items() if its == {kind}][:RIVALS]
        for kind in found.named
        if kind in ALONE
    }


def compared_plans(found: Proposal) -> Dict[str, BlockPlan]:
    """The plans of less freedom that are within the budget; the others below ``short/``."""
    plans = {}
    for name, choice in found.named.items():
        met = "within" if found.within(choice) else "NOT within"
        line = f"as compared with a plan for {found.budget} ({met} it); damage "
        line += f"{found.measurer.damage(choice):.4f}"
        if found.trial is not None:
            updates = found.trial.settings.max_updates
            line += f", {found.healed[choice][0]:.4f} after {updates} updates of healing"
        lines = {move: f"{move}: {name}, {line} [I]" for move in choice}
        plan = plan_of(choice, found.measurer.subject.description, lines)
        plans[name if found.within(choice) else f"short/{name}"] = plan
    return plans
