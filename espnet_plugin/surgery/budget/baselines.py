"""What others would do for the same cost: uniform dropping, a pruning order, one kind of edit."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Sequence

from espnet_plugin.surgery.actions import Drop
from espnet_plugin.surgery.budget.moves import Choice, Move
from espnet_plugin.surgery.budget.search import Search

ALONE = ("drop", "reuse_attention", "local_attention", "prune_heads", "share")


def baselines(search: Search, goal: float, orders: Dict[str, Sequence[int]]) -> Dict[str, Choice]:
    """Plans of less freedom, by name; the cheapest of each kind where none is within the goal.

    Args:
        search: has the moves.
        goal: a cost.
        orders: pruning orders, by name; blocks are dropped until the cost is within the goal.

    Returns:
        ``uniform_drop``; one for each order; and for each kind of move that there is the best plan
        found with that kind ``alone`` (additive or greedy, whichever does less damage).
    """
    found = {}
    if any(move.kind == "drop" for move in search.costs):
        found["uniform_drop"] = _fewest(search, goal, lambda n: uniform(search.blocks, n))
    for name, order in orders.items():
        found[name] = _fewest(search, goal, lambda n, order=order: sorted(order[:n]))  # type: ignore[misc]
    for kind in ALONE:
        moves = [move for move in search.costs if move.kind == kind]
        if moves:
            choice = _alone(search, goal, moves)
            found[f"{kind}_alone"] = choice
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


def _fewest(search: Search, goal: float, chosen: Callable[[int], Sequence[int]]) -> Choice:
    choice: Choice = ()
    for count in range(search.blocks):
        gone = set(chosen(count))
        choice = tuple(
            Move(block, block, (Drop(block),) if block in gone else ())
            for block in range(search.blocks)
        )
        if search.cost(choice) <= goal:
            break
    return choice


def _alone(search: Search, goal: float, moves: List[Move]) -> Choice:
    additive = search.additive(goal, moves)
    if additive is None:
        return search.points(moves)[-1].choice
    path = search.greedy(goal, moves)
    both: List[Optional[Choice]] = [additive, path[-1] if path else None]
    within = [c for c in both if c is not None and search.cost(c) <= goal]
    return min(within, key=lambda choice: search.measured(choice, "comparison"))
