"""Plans that avoid the abnormal blocks of a stack in one of three ways.

Chen, Asgari (2021, arXiv 2104.02851): abnormal attention patterns are avoided; Chen, Asgari, Dodge
(ICASSP 2022): by local attention and by sharing parameters across blocks. Which neighbour gives its
parameters is an inference.
"""

from __future__ import annotations

from typing import List, Sequence

from espnet_plugin.surgery.actions import Action, Drop, LocalAttention, Share
from espnet_plugin.surgery.plan import BlockPlan, StackDescription

STRATEGIES = ("drop", "local", "share")


def filter_plan(
    family: str, blocks: int, abnormal: Sequence[int], strategy: str, window: int = 16
) -> BlockPlan:
    """The plan that does the same to each abnormal block.

    Args:
        family, blocks: of the stack.
        abnormal: block numbers.
        strategy: "drop": they are taken out; "local": they attend to frames at most ``window``
            away; "share": they get the parameters of the nearest block that is not abnormal, the
            lower one of two.

    Raises:
        ValueError: an unknown strategy, or no normal block to share.
        PlanError: block numbers that make no sense.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    normal = [block for block in range(blocks) if block not in abnormal]
    if strategy == "share" and not normal:
        raise ValueError("strategy share: every block is abnormal, none is left to share")
    actions: List[Action] = []
    for block in abnormal:
        if strategy == "drop":
            actions.append(Drop(block))
        elif strategy == "local":
            actions.append(LocalAttention(block, window))
        else:
            _, nearest = min((abs(other - block), other) for other in normal)
            actions.append(Share(block, nearest))
    return BlockPlan(StackDescription(family, blocks), tuple(actions))


def keep_plan(family: str, blocks: int, keep: Sequence[int]) -> BlockPlan:
    """The plan that drops all blocks but ``keep``.

    Raises:
        ValueError: a block that is not there, or none is kept.
    """
    absent = [block for block in keep if not 0 <= block < blocks]
    if absent or not keep:
        raise ValueError(
            f"keep_blocks: expected some of the blocks 0 to {blocks - 1}, not {list(keep)}"
        )
    dropped = (Drop(block) for block in range(blocks) if block not in keep)
    return BlockPlan(StackDescription(family, blocks), tuple(dropped))
