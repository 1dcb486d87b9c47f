"""What others would do for the same cost: uniform dropping, a pruning order, one kind of edit."""

from __future__ import annotations

from typing import List, Optional, Sequence

from espnet_plugin.surgery.actions import Drop
from espnet_plugin.surgery.budget.moves import Choice, Move
from espnet_plugin.surgery.budget.search import Search

ALONE = ("drop", "reuse_attention", "local_attention", "prune_heads", "share")


def fewer_blocks(blocks: int, order: Sequence[int] = ()) -> List[Choice]:
    """Plans that drop 0, 1, 2, … blocks.

    Args:
        blocks: of the stack.
        order: which are dropped first; empty: those left always lie evenly.
    """
    choices = []
    for count in range(min(blocks, len(order) + 1) if order else blocks):
        gone = set(order[:count] if order else uniform(blocks, count))
        choices.append(
            tuple(
                Move(block, block, (Drop(block),) if block in gone else ())
                for block in range(blocks)
            )
        )
    return choices


def alone(search: Search, kind: str, goal: float) -> Optional[Choice]:
    """The best plan found within a cost with one kind of move alone.

    Returns:
        The additive or the greedy one, whichever does less damage; the cheapest where none is
        within the cost; None: no move of the kind saves anything.
    """
    moves = [move for move in search.costs if move.kind == kind]
    if not moves:
        return None
    found = [search.additive(goal, moves), *search.greedy(goal, moves)[-1:]]
    within = [c for c in found if c is not None and search.cost(c) <= goal]
    if not within:
        return search.cheapest(moves)
    return min(within, key=lambda choice: search.measured(choice, "comparison"))


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
