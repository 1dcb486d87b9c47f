"""In which order heads are pruned to see which of them matter.

Source: Yang, Liu, Lee, Interspeech 2020 (arXiv 2006.03265): four orders over all heads of a model,
by globalness, verticality and diagonality from high to low, and by the maximum attention weight
from low to high; the performance at 0, 1/6, …, 6/6 of the heads pruned. Orders at random are our
control [I].
"""

from __future__ import annotations

import random
from typing import Any, Dict, List, Mapping, Sequence

from espnet_plugin.analysis.maps.attention_report import AnalysisError
from espnet_plugin.analysis.maps.categories import CATEGORIES
from espnet_plugin.surgery.head_masks import Head

HIGHEST_FIRST = {
    "globalness": True,
    "verticality": True,
    "diagonality": True,
    "maximum_weight": False,
}
"""Order, by the measure that it is of -> whether the highest value is pruned first."""


def measured_heads(attention: Mapping[str, Any]) -> Dict[Head, Dict[str, Any]]:
    """The heads of a model and what was measured of each.

    A head is a map: blocks that use another's map have none of their own, and pruning it prunes
    their use of it too.

    Args:
        attention: the content of ``attention.json``.

    Returns:
        (block, head) -> its measures, ``category``, and ``uses``: how many blocks use its map.

    Raises:
        AnalysisError: no head at all, or one without a measure that an order needs.
    """
    blocks = attention["blocks"]
    found: Dict[Head, Dict[str, Any]] = {}
    for block in blocks:
        if block["shares_map_of"] is not None:
            continue
        number = int(block["block"])
        uses = 1 + sum(other["shares_map_of"] == number for other in blocks)
        for head in block["heads"]:
            missing = [name for name in HIGHEST_FIRST if name not in head]
            if missing:
                raise AnalysisError(
                    f"the analysis has no {missing[0]} of head {head['head']} of block {number}; "
                    "write it anew with espnet_plugin.bin.analyze --measures attention"
                )
            found[number, int(head["head"])] = {**head, "uses": uses}
    if not found:
        raise AnalysisError("the analysis has no heads")
    return found


def importance_orders(
    heads: Mapping[Head, Mapping[str, float]], orders: Sequence[str] = tuple(HIGHEST_FIRST)
) -> Dict[str, List[Head]]:
    """All heads in each order, those to be pruned first at the beginning.

    Of equal values the lower block's, then the lower head comes first.

    Args:
        heads: what :func:`measured_heads` returns.
        orders: which of :data:`HIGHEST_FIRST`.

    Raises:
        ValueError: an unknown order.
    """
    unknown = [name for name in orders if name not in HIGHEST_FIRST]
    if unknown:
        raise ValueError(f"unknown order {unknown[0]!r} (one of {', '.join(HIGHEST_FIRST)})")
    ranked = {}
    for name in orders:
        sign = -1 if HIGHEST_FIRST[name] else 1
        ranked[name] = sorted(heads, key=lambda head: (sign * heads[head][name], head))  # noqa: B023
    return ranked


def equal_numbers(heads: Mapping[Head, Mapping[str, Any]]) -> Dict[str, List[Head]]:
    """Of each category as many heads as the smallest one has, the most typical ones.

    Args:
        heads: what :func:`measured_heads` returns.

    Returns:
        Category -> heads, those with the highest values of its measure; categories without heads
        are left out.
    """
    chosen = {
        category: [
            head
            for head in importance_orders(heads, [measure])[measure]
            if heads[head]["category"] == category
        ]
        for measure, category in CATEGORIES.items()
    }
    least = min(len(found) for found in chosen.values() if found)
    return {category: found[:least] for category, found in chosen.items() if found}


def random_order(heads: Sequence[Head], seed: int) -> List[Head]:
    """All heads in an order that ``seed`` alone decides."""
    drawn = sorted(heads)
    random.Random(seed).shuffle(drawn)
    return drawn


def pruned_counts(heads: int, parts: int = 6) -> List[int]:
    """How many heads are pruned at 0, 1/parts, …, all of them; halves are rounded up."""
    if parts < 1 or heads < 1:
        raise ValueError(f"{heads} heads cannot be pruned in {parts} parts")
    return [(2 * heads * part + parts) // (2 * parts) for part in range(parts + 1)]
