"""How large an edited stack is, and edits that share the parameters of the stack they are of."""

from __future__ import annotations

import copy
from typing import Tuple

import torch
from torch import Tensor

from espnet_plugin.stacks.cost import MacCounter
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.apply import edit
from espnet_plugin.surgery.plan import BlockPlan


def shared_edit(stack: Stack, plan: BlockPlan) -> Stack:
    """As :func:`espnet_plugin.surgery.apply.apply_plan`, without copies of what is kept.

    A hundred edits of one stack fit into memory; none of them may be trained.

    Raises:
        PlanError: the plan does not fit.
    """
    tensors = [*stack.parameters(), *stack.buffers()]
    tensors += [v for m in stack.modules() for v in vars(m).values() if isinstance(v, Tensor)]
    edited: Stack = copy.deepcopy(stack, {id(tensor): tensor for tensor in tensors})
    edit(edited, plan)
    return edited


@torch.no_grad()
def sizes_of(stack: Stack, speech: Tensor, lengths: Tensor) -> Tuple[int, int]:
    """Parameters, shared ones once; and multiply-accumulate operations for ``speech`` (B, N)."""
    with MacCounter() as counter:
        stack.output(speech, lengths)
    return sum(parameter.numel() for parameter in stack.parameters()), counter.macs
