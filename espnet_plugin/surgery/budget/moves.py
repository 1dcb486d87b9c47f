"""What may be done to a stretch of blocks; a plan is one such move for each stretch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import List, Mapping, Optional, Sequence, Tuple

from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.actions import (
    Action,
    Drop,
    LocalAttention,
    PruneHeads,
    ReuseAttention,
    Share,
)
from espnet_plugin.surgery.fit import Fit
from espnet_plugin.surgery.plan import BlockPlan, PlanError, StackDescription


@dataclass(frozen=True)
class Move:
    """Blocks ``first`` to ``last``, both included, and what is done to them."""

    first: int
    last: int
    actions: Tuple[Action, ...] = ()

    @property
    def kind(self) -> str:
        """keep, drop, local_attention, prune_heads, reuse_attention or share."""
        return self.actions[0].do if self.actions else "keep"

    @property
    def dropped(self) -> bool:
        """Whether nothing of the stretch is left."""
        return sum(isinstance(a, Drop) for a in self.actions) == self.last - self.first + 1

    def __str__(self) -> str:
        done = ", ".join(
            f"{key} {value if isinstance(value, int) else list(value)}"
            for key, value in (self.actions[-1].arguments() if self.actions else {}).items()
            if key not in ("block", "leader", "source")
        )
        where = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{where} {self.kind}" + (f" ({done})" if done else "")


Choice = Tuple[Move, ...]
"""Moves that cover the blocks of a stack, in order, each block once."""


def untouched(blocks: int) -> Choice:
    """Every block is kept."""
    return tuple(Move(block, block) for block in range(blocks))


def swapped(choice: Choice, move: Move) -> Choice:
    """``choice`` with ``move`` in place of whatever it has there.

    What another move did beyond the stretch of ``move`` is undone.
    """
    left: List[Move] = []
    for old in choice:
        if old.last < move.first or old.first > move.last:
            left.append(old)
        else:
            outside = [b for b in range(old.first, old.last + 1) if not _within(b, move)]
            left += [Move(block, block) for block in outside]
    return tuple(sorted([*left, move], key=lambda m: m.first))


def plan_of(
    choice: Sequence[Move],
    description: StackDescription,
    because: Optional[Mapping[Move, str]] = None,
) -> BlockPlan:
    """The plan that a choice is, with the move's line for each of its actions.

    Raises:
        PlanError: every block is dropped.
    """
    actions = tuple(action for move in choice for action in move.actions)
    lines = tuple(because[move] for move in choice for _ in move.actions) if because else ()
    return BlockPlan(description, actions, lines)


def key_of(choice: Sequence[Move]) -> str:
    """A short name that depends on the actions alone."""
    said = [[action.do, action.arguments()] for move in choice for action in move.actions]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def possible_moves(
    stack: Stack, windows: Sequence[int], heads: Mapping[int, Sequence[Sequence[int]]], longest: int
) -> List[Move]:
    """Everything that could be done to each block, one by one, and to stretches that reuse a map.

    Args:
        stack: what its blocks do not allow is left out.
        windows: frames of local attention.
        heads: by block, the sets of heads that may be pruned.
        longest: blocks of a stretch that reuses the map of its first one, at most.

    Returns:
        Moves other than keeping, in the order of their first block. A block shares the parameters
        of the one before it.
    """
    count = len(stack.blocks)
    moves: List[Move] = []
    for block in range(count):
        moves.append(Move(block, block, (Drop(block),)))
        moves += [Move(block, block, (LocalAttention(block, window),)) for window in windows]
        moves += [
            Move(block, block, (PruneHeads(block, tuple(sorted(some))),))
            for some in heads.get(block, ())
        ]
        for last in range(block + 1, min(block + longest, count)):
            followers = range(block + 1, last + 1)
            moves.append(Move(block, last, tuple(ReuseAttention(b, block) for b in followers)))
        if block + 1 < count:
            moves.append(Move(block, block + 1, (Share(block + 1, block),)))
    return [move for move in moves if allowed(stack, (move,))]


def allowed(stack: Stack, choice: Sequence[Move]) -> bool:
    """Whether the stack can be edited so."""
    try:
        Fit(stack, plan_of(choice, StackDescription(stack.family, len(stack.blocks))))
    except PlanError:
        return False
    return True


def _within(block: int, move: Move) -> bool:
    return move.first <= block <= move.last
