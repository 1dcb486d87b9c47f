"""The best plans at every cost, if costs and damages of moves simply added up."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from espnet_plugin.surgery.budget.moves import Choice, Move


@dataclass(frozen=True)
class Offer:
    """A move with what it changes.

    Attributes:
        cost: added to the cost of the stack; whole units, as a rule below 0.
        damage: added to the damage.
    """

    move: Move
    cost: int
    damage: float


@dataclass(frozen=True)
class Point:
    """A plan that no other is better than in both cost and damage."""

    cost: int
    damage: float
    choice: Choice


@dataclass(frozen=True)
class _Path:
    cost: int
    damage: float
    offer: Optional[Offer]
    before: Optional[_Path]


def frontier(blocks: int, offers: Sequence[Offer]) -> List[Point]:
    """All Pareto-optimal sums of moves that cover the blocks, by a dynamic programme, exactly.

    Args:
        blocks: L; keeping a block costs 0 and does no damage.
        offers: moves other than keeping. Several for one stretch may be given.

    Returns:
        From the dearest to the cheapest; at least one block is left in each. Of plans with equal
        cost and damage the one whose moves come first in ``offers`` (keeping before all).
    """
    ending: Dict[int, List[Offer]] = defaultdict(list)
    for block in range(blocks):
        ending[block].append(Offer(Move(block, block), 0, 0.0))
    for offer in offers:
        ending[offer.move.last].append(offer)
    # by how many blocks are done, and whether one of them is left: the best paths
    best: List[Dict[bool, List[_Path]]] = [{False: [_Path(0, 0.0, None, None)], True: []}]
    for last in range(blocks):
        reached: Dict[bool, List[_Path]] = {False: [], True: []}
        for offer in ending[last]:
            for left, paths in best[offer.move.first].items():
                reached[left or not offer.move.dropped] += [
                    _Path(path.cost + offer.cost, path.damage + offer.damage, offer, path)
                    for path in paths
                ]
        best.append({left: _undominated(paths) for left, paths in reached.items()})
    return [Point(p.cost, p.damage, _choice(p)) for p in reversed(best[-1][True])]


def _undominated(paths: List[_Path]) -> List[_Path]:
    """Cost rising, damage falling."""
    kept: List[_Path] = []
    for path in sorted(paths, key=_by_cost):  # stable
        if not kept or path.damage < kept[-1].damage:
            kept.append(path)
    return kept


def _by_cost(path: _Path) -> Tuple[int, float]:
    return path.cost, path.damage


def _choice(path: _Path) -> Choice:
    moves: List[Move] = []
    at: Optional[_Path] = path
    while at is not None and at.offer is not None:
        moves.append(at.offer.move)
        at = at.before
    return tuple(reversed(moves))
