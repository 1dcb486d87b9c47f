"""Which moves are worth a look: what each saves and what damage it does alone, measured."""

from __future__ import annotations

import logging
from typing import Dict, List, Sequence, Tuple

from espnet_plugin.progress import progress
from espnet_plugin.surgery.actions import PruneHeads
from espnet_plugin.surgery.budget.goal import Budget
from espnet_plugin.surgery.budget.measure import Measurer
from espnet_plugin.surgery.budget.moves import Move, allowed, possible_moves

logger = logging.getLogger(__name__)

KINDS = ("drop", "reuse_attention", "local_attention", "prune_heads", "share")
"""What may be done to blocks."""

LEAST_SAVED = 2e-3
"""Moves that save less of the time than that are left out: noise would choose among them."""


def candidates(
    measurer: Measurer,
    budget: Budget,
    kinds: Sequence[str] = KINDS,
    windows: Sequence[int] = (8, 16, 32, 64),
    longest: int = 4,
) -> Tuple[Dict[Move, float], Dict[Move, float]]:
    """Measure all moves that lower the cost.

    Args:
        measurer: of the model.
        budget: says what the cost is.
        kinds: of moves, out of :data:`KINDS`.
        windows: frames of local attention.
        longest: blocks that may use one map, at most.

    Returns:
        What each move adds to the cost, as a share of the stack's (below 0); and its damage alone.
    """
    heads = head_sets(measurer) if "prune_heads" in kinds else {}
    frames = measurer.frames()
    windows = [window for window in windows if window < frames - 1]  # wider ones hide nothing
    moves = possible_moves(measurer.stack, windows, heads, longest)
    moves = [move for move in moves if move.kind in kinds]
    if budget.timed:
        costs = _scaled(measurer, measurer.time_costs(m for m in moves if m.kind != "share"))
        least = LEAST_SAVED
    else:
        which = ("parameters", "macs").index(budget.metric)
        whole = measurer.sizes(())[which]
        costs = {
            move: measurer.sizes((move,))[which] / whole - 1
            for move in progress(moves, "sizes of moves")
        }
        least = 0.0
    useful = {move: cost for move, cost in costs.items() if cost < -least}
    logger.info("%d of %d moves lower the cost", len(useful), len(moves))
    damages = {move: measurer.damage((move,)) for move in progress(list(useful), "damage of moves")}
    return useful, damages


def _scaled(measurer: Measurer, costs: Dict[Move, float]) -> Dict[Move, float]:
    """Times of moves so scaled that those of all blocks are the time of the blocks together.

    A block that is run by itself takes a little longer than in the row.
    """
    dropped = [-cost for move, cost in costs.items() if move.kind == "drop"]
    if len(dropped) < len(measurer.stack.blocks) or min(dropped) <= 0:
        return costs
    scale = (1 - measurer.original_time()[1]) / sum(dropped)
    return {move: cost * scale for move, cost in costs.items()}


def head_sets(measurer: Measurer) -> Dict[int, List[Tuple[int, ...]]]:
    """By block, a quarter, a half, three quarters and all of its heads, the least harmful first.

    How harmful a head is, is measured by pruning it alone.
    """
    stack = measurer.stack
    alone = [
        Move(block, block, (PruneHeads(block, (head,)),))
        for block, module in enumerate(stack.blocks)
        for head in range(getattr(getattr(module, "attention", None), "heads", 0))
    ]
    by_block: Dict[int, List[Tuple[float, int]]] = {}
    for move in progress([m for m in alone if allowed(stack, (m,))], "damage of heads"):
        (action,) = move.actions
        assert isinstance(action, PruneHeads)
        by_block.setdefault(move.first, []).append((measurer.damage((move,)), action.heads[0]))
    sets: Dict[int, List[Tuple[int, ...]]] = {}
    for block, heads in by_block.items():
        ranked = [head for _, head in sorted(heads)]
        counts = sorted({max(1, round(len(ranked) * share / 4)) for share in (1, 2, 3, 4)})
        sets[block] = [tuple(sorted(ranked[:count])) for count in counts]
    return sets
