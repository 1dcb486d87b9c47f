"""Whether a plan fits a stack as it is: what the plan by itself cannot know.

A stack that was edited before has blocks without maps of their own, blocks without attention and
blocks at two places; a plan that overlooks them is refused with the line at fault.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from torch import nn

from espnet_plugin.stacks.stack import Stack, follows
from espnet_plugin.surgery.actions import (
    Action,
    Drop,
    LocalAttention,
    Mimic,
    PruneHeads,
    ReuseAttention,
    Share,
)
from espnet_plugin.surgery.plan import BlockPlan


class Fit:
    """A plan laid over a stack.

    Args:
        stack: its places are the block numbers of the plan.
        plan: see :class:`BlockPlan`.

    Attributes:
        blocks: the block of each place once parameters are shared, and before anything is removed.
        gone: place -> the action that removes it.
        leaders: of each place that follows after the edit, and is there, the place of its leader.
        prunes: (block, heads), each block once, the followers of pruned leaders among them.

    Raises:
        PlanError: the plan does not fit; one line that names the line at fault.
    """

    def __init__(self, stack: Stack, plan: BlockPlan) -> None:
        plan.validate(len(stack.blocks), [_heads(b) for b in stack.blocks], stack.family)
        self.plan = plan
        self.gone: Dict[int, Action] = {
            block: a for a in plan.actions if isinstance(a, (Drop, Mimic)) for block in a.touched
        }
        self.shared = {a.block: a for a in plan.actions if isinstance(a, Share)}
        self.reused = {a.block: a for a in plan.actions if isinstance(a, ReuseAttention)}
        before = list(stack.blocks)
        sources = {block: action.source for block, action in self.shared.items()}
        self.blocks = [before[sources.get(place, place)] for place in range(len(before))]
        self.leaders = _leaders(before)
        for action in plan.actions:
            self._check_attention(action, before)
        self._regroup()
        self._check_twins()
        self.prunes = self._prunes()

    def _check_attention(self, action: Action, before: List[Any]) -> None:
        if isinstance(action, Share) and follows(before[action.source]):
            leader = self.leaders[action.source]
            raise self.plan.error(
                action,
                f"source {action.source} of block {action.block} reuses block {leader}'s map and "
                "has no queries and keys to share",
            )
        if not isinstance(action, (LocalAttention, PruneHeads, ReuseAttention)):
            return
        needed = [action.block, *([action.leader] if isinstance(action, ReuseAttention) else [])]
        for block in needed:
            if _attention(self.blocks[block]) is None:
                raise self.plan.error(action, f"block {block} is a mimic and has no attention")
        block = needed[-1]  # the one that must have a map of its own
        if follows(self.blocks[block]):
            raise self.plan.error(
                action,
                f"block {block} has no map of its own: it reuses block {self.leaders[block]}'s; "
                "name that one",
            )

    def _regroup(self) -> None:
        """Turn ``leaders`` from what was into what will be, if that is possible."""
        was = {
            place: leader
            for place, leader in self.leaders.items()
            if place not in self.gone and place not in self.shared and place not in self.reused
        }
        for place, leader in was.items():
            for between in range(leader, place):
                cause = self._parts(between, leader)
                if cause is not None:
                    raise self.plan.error(
                        cause,
                        f"block {place} reuses the map of {leader}, and {cause.do} of {between} "
                        "would part them; name that block too",
                    )
        self.leaders = {**was, **{block: a.leader for block, a in self.reused.items()}}
        for place, leader in self.leaders.items():
            mine, its = _heads(self.blocks[place]), _heads(self.blocks[leader])
            if mine != its:
                cause = self.reused.get(place) or self.shared.get(leader)
                raise self.plan.error(
                    cause,
                    f"block {place} has {mine} heads and its leader {leader} has {its}: they "
                    "cannot have one map",
                )

    def _parts(self, between: int, leader: int) -> Optional[Action]:
        """The action on ``between`` that takes ``leader``'s map from the followers behind it."""
        gone = self.gone.get(between)
        if gone is not None:
            return None if isinstance(gone, Drop) and between > leader else gone
        if between in self.reused:
            return None if self.reused[between].leader == leader else self.reused[between]
        return self.shared.get(between) if between > leader else None

    def _places(self, block: nn.Module) -> List[int]:
        """Where ``block`` is after the edit."""
        return [p for p, b in enumerate(self.blocks) if b is block and p not in self.gone]

    def _check_twins(self) -> None:
        for place, action in self.reused.items():
            for other in self._places(self.blocks[place]):
                if other not in self.leaders:
                    raise self.plan.error(
                        action,
                        f"block {place} has the parameters of block {other}, which needs its "
                        "queries and keys; name that block too",
                    )

    def _prunes(self) -> List[Tuple[Any, Tuple[int, ...]]]:
        asked: Dict[int, Tuple[Any, Tuple[int, ...], Action]] = {}
        for action in self.plan.actions:
            if isinstance(action, PruneHeads):
                heads = tuple(sorted(action.heads))
                for place in self._places(self.blocks[action.block]):
                    for member in [place, *self._followers(place)]:
                        block = self.blocks[member]
                        if asked.setdefault(id(block), (block, heads, action))[1] != heads:
                            raise self._unequal(action, member)
        for block, heads, action in list(asked.values()):
            for place in self._places(block):
                leader = self.blocks[self.leaders.get(place, place)]
                if id(leader) not in asked or asked[id(leader)][1] != heads:
                    raise self._unequal(action, place)
        return [(block, heads) for block, heads, _ in asked.values()]

    def _followers(self, leader: int) -> List[int]:
        return [place for place, its in self.leaders.items() if its == leader]

    def _unequal(self, action: Action, place: int) -> Exception:
        return self.plan.error(
            action,
            f"block {place} shares its parameters or its map with another block, and not the same "
            "heads of both are pruned",
        )


def _leaders(blocks: List[Any]) -> Dict[int, int]:
    leaders, last = {}, 0
    for place, block in enumerate(blocks):
        if follows(block):
            leaders[place] = last
        else:
            last = place
    return leaders


def _attention(block: nn.Module) -> Any:
    return getattr(block, "attention", None)


def _heads(block: nn.Module) -> int:
    return getattr(_attention(block), "heads", 0)
