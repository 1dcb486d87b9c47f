"""Carry out a block plan."""

from __future__ import annotations

import copy
from typing import List, Optional, Tuple

from torch import nn

from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.actions import LocalAttention, Mimic
from espnet_plugin.surgery.fit import Fit
from espnet_plugin.surgery.mimic import MimicBlock
from espnet_plugin.surgery.plan import BlockPlan


def apply_plan(stack: Stack, plan: BlockPlan) -> Stack:
    """A new stack: ``stack`` edited as ``plan`` says; ``stack`` itself stays as it is.

    What an edit takes away is gone from the new stack: blocks, heads, and the projections that
    nobody needs any more. Parameters are copies. Mimics begin with random parameters.

    Args:
        stack: edited before or not; the plan counts the blocks, and their heads, that it has now.
        plan: for that many blocks of that family.

    Raises:
        PlanError: the plan does not fit; one line that names the line at fault.
    """
    blocks, kept = list(stack.blocks), Fit(stack, plan)
    needed = {id(block) for place, block in enumerate(kept.blocks) if place not in kept.gone}
    memo = {id(block): block for block in blocks if id(block) not in needed}  # not to be copied
    edited: Stack = copy.deepcopy(stack, memo)
    edit(edited, plan)
    return edited


def edit(stack: Stack, plan: BlockPlan) -> None:
    """What :func:`apply_plan` does, in place; also where parameters are on "meta".

    Raises:
        PlanError: as :func:`apply_plan`; the stack is then as it was.
    """
    fit = Fit(stack, plan)
    for block, heads in fit.prunes:
        block.attention = block.attention.prune(heads)
    for place in fit.leaders:
        block = fit.blocks[place]
        block.attention = block.attention.follower()
    windows = list(stack.windows)
    for action in plan.actions:
        if isinstance(action, LocalAttention):
            windows[action.block] = action.window
    left: List[Tuple[nn.Module, int, Optional[int]]] = []
    for place, number in enumerate(stack.block_numbers):
        gone = fit.gone.get(place)
        if gone is None:
            window = None if place in fit.leaders else windows[place]
            left.append((fit.blocks[place], number, window))
        elif isinstance(gone, Mimic) and place == gone.blocks[1]:
            left.append((_mimic(stack, gone), number, None))
    stack.blocks = nn.ModuleList(block for block, _, _ in left)
    stack.block_numbers = tuple(number for _, number, _ in left)
    stack.windows = tuple(window for _, _, window in left)
    stack.plans = (*stack.plans, plan)
    whole = (0, plan.stack.blocks - 1)
    stack.tidy(any(isinstance(a, Mimic) and tuple(a.blocks) == whole for a in plan.actions))


def _mimic(stack: Stack, action: Mimic) -> nn.Module:
    like = next(stack.parameters())
    mimic = MimicBlock(stack.width, action.hidden, action.layers, action.kind)
    return mimic.to(like.device, like.dtype).train(stack.training)
