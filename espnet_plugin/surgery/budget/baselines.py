"""What others would do for the same cost: uniform dropping, a pruning order, one kind of edit."""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, List, Mapping, Sequence

from espnet_plugin.surgery.actions import Drop
from espnet_plugin.surgery.budget.moves import Choice, Move
from espnet_plugin.surgery.budget.search import Search

ALONE = ("drop", "reuse_attention", "local_attention", "prune_heads", "share")


Maker = Callable[[float], Choice]


def baselines(search: Search, orders: Mapping[str, Sequence[int]]) -> Dict[str, Maker]:
    """Ways of less freedom to find a plan within a cost, by name.

    Args:
        search: has the moves.
        orders: pruning orders, by name; blocks are dropped until the cost is low enough.

    Returns:
        ``uniform_drop``; one for each order; and for each kind of move that there is, the best plan
        found with that kind alone (additive or greedy, whichever does less damage). Where none is
        within the cost, a way gives the cheapest plan that it has.
    """
    found: Dict[str, Maker] = {}
    if any(move.kind == "drop" for move in search.costs):
        orders = {"uniform_drop": (), **orders}
    for name, order in orders.items():
        found[name] = partial(_fewest, search, order)
    for kind in ALONE:
        moves = [move for move in search.costs if move.kind == kind]
        if moves:
            found[kind] = partial(_alone, search, moves)
    return found


def uniform(blocks: int, dropped: int) -> List[int]:
    """``dropped`` blocks so that those left, the first and the last among them, lie evenly.

    Raises:
        ValueError: none would be left.
    """
    left = blocks - dropped
    if left < 1:
        raise ValueError(f"{dropped} of {blocks} blocks cannot be dropped")
    kept = {0} if left == 1 else {round(i * (blocks - 1) / (left - 1)) for i in range(left)}
    return [block for block in range(blocks) if block not in kept]


def _fewest(search: Search, order: Sequence[int], goal: float) -> Choice:
    """As few blocks dropped as need be: the first of ``order``, or uniformly where it is empty."""
    choice: Choice = ()
    for count in range(search.blocks):
        gone = set(order[:count] if order else uniform(search.blocks, count))
        choice = tuple(
            Move(block, block, (Drop(block),) if block in gone else ())
            for block in range(search.blocks)
        )
        if search.cost(choice) <= goal:
            break
    return choice


def _alone(search: Search, moves: List[Move], goal: float) -> Choice:
    found = [search.additive(goal, moves), *search.greedy(goal, moves)[-1:]]
    within = [c for c in found if c is not None and search.cost(c) <= goal]
    if not within:
        return search.cheapest(moves)
    return min(within, key=lambda choice: search.measured(choice, "comparison"))
