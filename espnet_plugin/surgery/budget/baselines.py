"""What others would do for the same cost: uniform dropping, a pruning order, one kind of edit."""

from __future__ import annotations

from typing import List, Sequence

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


def alone(search: Search, kind: str, goal: float) -> List[Choice]:
    """Plans within a cost with one kind of move alone, by the whole search, best first.

    Returns:
        All that were measured; the cheapest where none is within the cost; none if no move of the
        kind saves anything.
    """
    moves = [move for move in search.costs if move.kind == kind]
    if not moves:
        return []
    own = search.only(moves)
    begin = [own.additive(goal), *own.greedy(goal)[-1:]]
    for choice in dict.fromkeys(c for c in begin if c is not None and own.cost(c) <= goal):
        own.improve(choice, goal)
    within = {c: own.measured(c, "") for c in own.origins if own.cost(c) <= goal}
    return sorted(within, key=lambda c: (within[c], own.cost(c))) or [own.cheapest()]


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
