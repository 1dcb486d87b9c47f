"""The contradictions that a block plan can hold, each found at the action at fault."""

from __future__ import annotations

from collections import defaultdict
from typing import Callable, Dict, List, Mapping, Sequence

from espnet_plugin.surgery.actions import (
    MIMICS,
    Action,
    Drop,
    LocalAttention,
    Mimic,
    PruneHeads,
    ReuseAttention,
    Share,
)
from espnet_plugin.surgery.plan_yaml import PlanError

Complain = Callable[[Action, str], PlanError]

# Two actions on one block that do not contradict each other.
_TOGETHER = (
    {LocalAttention, PruneHeads},
    {LocalAttention, Share},
)


def check_actions(blocks: int, actions: Sequence[Action], complain: Complain) -> None:
    """Raise what ``complain(action, message)`` returns for the first contradiction.

    Args:
        blocks: number of blocks of the stack.
        actions: in the order of the plan; values have their types already.
    """
    by_block: Dict[int, List[Action]] = defaultdict(list)
    for action in actions:
        _check_values(blocks, action, complain)
        for block in action.touched:
            for other in by_block[block]:
                if {type(action), type(other)} not in _TOGETHER:
                    again = "twice" if type(other) is type(action) else f"both {other.do} and"
                    raise complain(
                        action,
                        f"block {block} is named for {again} {action.do}"
                        f"{'' if other.line is None else f' (the other in line {other.line})'}",
                    )
            by_block[block].append(action)

    gone = {b: a for a in actions if isinstance(a, (Drop, Mimic)) for b in a.touched}
    dropped = {a.block for a in actions if isinstance(a, Drop)}
    leaders = {a.block: a.leader for a in actions if isinstance(a, ReuseAttention)}
    shared = {a.block: a.source for a in actions if isinstance(a, Share)}
    for action in actions:
        if isinstance(action, ReuseAttention):
            _check_reuse(action, leaders, gone, dropped, complain)
        elif isinstance(action, Share):
            _check_share(action, leaders, shared, gone, complain)
        elif isinstance(action, Drop) and len(dropped) == blocks:
            raise complain(action, "the plan drops every block; keep at least one")


def _check_values(blocks: int, action: Action, complain: Complain) -> None:
    named = [
        (name, value)
        for name in ("block", "leader", "source")
        for value in [getattr(action, name, None)]
        if value is not None
    ]
    named += [("blocks", block) for block in getattr(action, "blocks", ())]
    for name, block in named:
        if not 0 <= block < blocks:
            raise complain(action, f"{name} {block} is not in the stack (blocks 0 to {blocks - 1})")
    if isinstance(action, Mimic):
        if len(action.blocks) != 2 or action.blocks[0] > action.blocks[1]:
            raise complain(
                action,
                f"blocks of mimic must be [first, last], not {list(action.blocks)}",
            )
        for name in ("hidden", "layers"):
            if getattr(action, name) < 1:
                raise complain(action, f"{name} must be at least 1, not {getattr(action, name)}")
        if action.kind not in MIMICS:
            raise complain(
                action, f"kind of mimic must be one of {', '.join(MIMICS)}, not {action.kind!r}"
            )
    elif isinstance(action, LocalAttention):
        if action.window < 1:
            raise complain(action, f"window must be at least 1 frame, not {action.window}")
    elif isinstance(action, PruneHeads):
        if not action.heads:
            raise complain(action, "heads is empty: name the heads to prune, or leave the line out")
        if len(set(action.heads)) < len(action.heads) or min(action.heads) < 0:
            raise complain(action, f"heads must be different, from 0 up, not {list(action.heads)}")


def _check_reuse(
    action: ReuseAttention,
    leaders: Dict[int, int],
    gone: Mapping[int, Action],
    dropped: set[int],
    complain: Complain,
) -> None:
    block, leader = action.block, action.leader
    if leader >= block:
        raise complain(action, f"the leader of block {block} must come before it, not be {leader}")
    if leader in gone:
        raise complain(action, f"leader {leader} of block {block} is removed by {gone[leader].do}")
    if leader in leaders:
        raise complain(
            action,
            f"leader {leader} of block {block} has no map of its own: it reuses block "
            f"{leaders[leader]}'s; name that one",
        )
    for between in range(leader + 1, block):
        if between not in dropped and leaders.get(between) != leader:
            raise complain(
                action,
                f"block {block} cannot reuse the map of {leader}: block {between} lies between "
                "them and does not; groups are contiguous",
            )


def _check_share(
    action: Share,
    leaders: Dict[int, int],
    shared: Dict[int, int],
    gone: Mapping[int, Action],
    complain: Complain,
) -> None:
    block, source = action.block, action.source
    if source == block:
        raise complain(action, f"block {block} cannot share its own parameters")
    if source in gone:
        raise complain(action, f"source {source} of block {block} is removed by {gone[source].do}")
    if source in shared:
        raise complain(
            action,
            f"source {source} of block {block} has no parameters of its own: it shares block "
            f"{shared[source]}'s; name that one",
        )
    if source in leaders:
        raise complain(
            action,
            f"source {source} of block {block} reuses block {leaders[source]}'s map and has no "
            "queries and keys to share",
        )
