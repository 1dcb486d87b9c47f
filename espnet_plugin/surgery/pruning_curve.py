"""What is left of a stack's capacity as blocks are taken out, one after the other.

Source: Dorszewski et al., ICASSP 2025 (arXiv 2409.16302), pruning without post-training: the head
stays as it is, nothing is trained afterwards. The orders are those of
:mod:`espnet_plugin.surgery.pruning_order`.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from espnet_plugin.analysis.probes.capacity import Capacity, kept
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.actions import Drop
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, StackDescription
from espnet_plugin.surgery.pruning_order import ORDERS, SIMILARITY, pruning_order

Curve = List[Tuple[int, float]]
"""(blocks removed, capacity), from none removed on."""


def drop_plan(family: str, blocks: int, dropped: Sequence[int]) -> BlockPlan:
    """The plan that drops these blocks; see :class:`BlockPlan`."""
    return BlockPlan(StackDescription(family, blocks), tuple(Drop(b) for b in sorted(dropped)))


def pruning_curve(
    stack: Stack,
    order: Sequence[int],
    capacity: Capacity,
    known: Optional[Dict[FrozenSet[int], float]] = None,
) -> Curve:
    """The capacity with 0, 1, 2, … blocks dropped, each time from ``stack`` itself.

    Args:
        stack: stays as it is.
        order: blocks, the first to be dropped first. One block is left in any case: of an order
            that names all, the last is not dropped.
        capacity: of the edited stacks.
        known: capacities by the set of dropped blocks; those that are there are not measured, and
            those that are measured are added.

    Raises:
        PlanError: a block that is not there or is named twice, or one that other blocks cannot be
            without.
    """
    known = {} if known is None else known
    blocks = len(stack.blocks)
    curve: Curve = []
    for removed in range(min(len(order), blocks - 1) + 1):
        dropped = frozenset(order[:removed])
        if dropped not in known or len(dropped) < removed:
            plan = drop_plan(stack.family, blocks, order[:removed])
            known[dropped] = capacity(apply_plan(stack, plan) if removed else stack)
        curve.append((removed, known[dropped]))
    return curve


def pruning_curves(
    stack: Stack,
    capacity: Capacity,
    similarity: Mapping[str, object],
    core: Sequence[int] = (),
    orders: Sequence[str] = ORDERS,
) -> Dict[str, Tuple[List[int], Curve]]:
    """The order and the curve of every way to prune.

    Args:
        stack, capacity: as for :func:`pruning_curve`.
        similarity: measure -> (L + 1, L + 1) of the states, for the measures that the orders need;
            see :data:`espnet_plugin.surgery.pruning_order.SIMILARITY`.
        core: for ``core_first``.
        orders: which.

    Raises:
        ValueError: a measure is missing; see also :func:`pruning_order`.
    """
    known: Dict[FrozenSet[int], float] = {}
    curves = {}
    for name in orders:
        found = similarity.get(SIMILARITY.get(name, ""))
        order = pruning_order(name, len(stack.blocks), found, core)
        curves[name] = (order, pruning_curve(stack, order, capacity, known))
    return curves


def removable(curve: Curve, share: float = 0.95, chance: float = 0.0) -> int:
    """The most blocks that can go while at least ``share`` of the capacity is kept, all the way.

    Args:
        curve: its first point is the unedited stack.
        share: 0 to 1.
        chance: see :func:`espnet_plugin.analysis.probes.capacity.kept`.
    """
    most = 0
    for removed, value in curve:
        if kept(value, curve[0][1], chance) < share:
            break
        most = removed
    return most
