"""Plans that avoid the abnormal blocks of a stack in one of three ways, and their controls.

Chen, Asgari (2021, arXiv 2104.02851): abnormal attention patterns are avoided; Chen, Asgari, Dodge
(ICASSP 2022): by local attention and by sharing parameters across blocks. Which neighbour gives its
parameters, the window, and the control are inferences.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from espnet_plugin.atomic import PathLike
from espnet_plugin.surgery.actions import Action, Drop, LocalAttention, Share
from espnet_plugin.surgery.plan import BlockPlan, StackDescription

STRATEGIES = ("drop", "local", "share")


def filter_plan(
    family: str,
    blocks: int,
    abnormal: Sequence[int],
    strategy: str,
    window: int = 16,
    model: Optional[str] = None,
    reason: str = "named as abnormal",
) -> BlockPlan:
    """The plan that does the same to each abnormal block.

    Args:
        family, blocks, model: of the stack.
        abnormal: block numbers.
        strategy: "drop": they are taken out; "local": they attend to frames at most ``window``
            away; "share": they get the parameters of the nearest block that is not abnormal, the
            lower one of two.
        reason: why, for the lines of ``because``.

    Raises:
        ValueError: an unknown strategy, or no normal block to share.
        PlanError: block numbers that make no sense.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    normal = [block for block in range(blocks) if block not in abnormal]
    if strategy == "share" and not normal:
        raise ValueError("strategy share: every block is abnormal, none is left to share")
    return _same_edit(
        StackDescription(family, blocks, model), abnormal, strategy, window, normal, reason
    )


def control_plan(
    family: str,
    blocks: int,
    abnormal: Sequence[int],
    strategy: str,
    window: int = 16,
    seed: int = 0,
    model: Optional[str] = None,
) -> BlockPlan:
    """The same edit on as many blocks that are *not* abnormal, drawn at random.

    What this arm loses or gains, an edit of any block loses or gains; the difference to
    :func:`filter_plan` is what the blocks being abnormal contributes.

    Args:
        seed: of the draw; the same for all strategies draws the same blocks.
        family, blocks, abnormal, strategy, window, model: as for :func:`filter_plan`; the
            parameters that are shared come from a block that is neither abnormal nor drawn.

    Raises:
        ValueError: an unknown strategy; fewer normal blocks than abnormal ones; none left to share.
        PlanError: block numbers that make no sense.
    """
    filter_plan(family, blocks, abnormal, strategy, window)  # are the numbers right?
    normal = [block for block in range(blocks) if block not in abnormal]
    if len(normal) < len(abnormal):
        raise ValueError(
            f"control: {len(abnormal)} of {blocks} blocks are abnormal, not as many others"
        )
    drawn = sorted(random.Random(seed).sample(normal, len(abnormal)))
    left = [block for block in normal if block not in drawn]
    if strategy == "share" and drawn and not left:
        raise ValueError("control: no block that is neither abnormal nor drawn is left to share")
    description = StackDescription(family, blocks, model)
    flagged = ", ".join(str(block) for block in sorted(abnormal))
    reason = f"not abnormal, drawn with seed {seed} as a control for {flagged}"
    return _same_edit(description, drawn, strategy, window, left, reason)


def arm_plans(
    family: str,
    blocks: int,
    abnormal: Sequence[int],
    window: int = 16,
    seed: int = 0,
    control: str = "drop",
    model: Optional[str] = None,
) -> Dict[str, BlockPlan]:
    """The five arms that are compared together, by name.

    Args:
        control: the strategy whose edit the control arm has.
        others: as for :func:`control_plan`.

    Returns:
        ``as_it_is`` (nothing is done), ``local``, ``share``, ``drop`` and ``control``.

    Raises:
        ValueError, PlanError: as the functions above; no abnormal blocks.
    """
    if not abnormal:
        raise ValueError("no abnormal blocks: there are no arms to compare")
    plans = {"as_it_is": BlockPlan(StackDescription(family, blocks, model))}
    for strategy in ("local", "share", "drop"):
        plans[strategy] = filter_plan(family, blocks, abnormal, strategy, window, model)
    plans["control"] = control_plan(family, blocks, abnormal, control, window, seed, model)
    return plans


def _same_edit(
    description: StackDescription,
    edited: Sequence[int],
    strategy: str,
    window: int,
    sources: Sequence[int],
    reason: str,
) -> BlockPlan:
    actions: List[Action] = []
    because = []
    for block in edited:
        if strategy == "drop":
            actions.append(Drop(block))
            done = "dropped"
        elif strategy == "local":
            actions.append(LocalAttention(block, window))
            done = f"attends to {window} frames on both sides"
        else:
            _, nearest = min((abs(other - block), other) for other in sources)
            actions.append(Share(block, nearest))
            done = f"gets the parameters of block {nearest}, the nearest that is left alone"
        because.append(f"block {block}: {reason}; {done} [I]")
    return BlockPlan(description, tuple(actions), tuple(because))


def read_diagnosis(path: PathLike) -> Tuple[str, int, List[int]]:
    """Family, blocks and abnormal blocks, out of what ``espnet_plugin.bin.diagnose`` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is none of these, or names no blocks.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        family, blocks = str(found["family"]), int(found["stack_blocks"])
        abnormal = [int(block) for block in found["candidates"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: is no diagnosis of espnet_plugin.bin.diagnose: {error}"
        ) from None
    if not abnormal:
        raise ValueError(f"{path}: names no blocks; diagnose with --at_least 1, or give --abnormal")
    return family, blocks, abnormal


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
