"""Head categories: is a head diagonal, vertical or global?"""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence

CATEGORIES = {"diagonality": "diagonal", "verticality": "vertical", "globalness": "global"}
"""Measure -> category, in the order that settles ties [I]."""


def ranks(values: Sequence[float]) -> List[int]:
    """The rank of each value among all, highest first, from 0; equal values share the best."""
    ordered = sorted(values, reverse=True)
    first: Dict[float, int] = {}
    for rank, value in enumerate(ordered):
        first.setdefault(value, rank)
    return [first[value] for value in values]


def categorise(measures: Mapping[str, Sequence[float]]) -> List[str]:
    """The category of each head of a model.

    All heads are ranked, best first, by globalness, by verticality and by diagonality; a head
    belongs to the measure in whose list it ranks highest. Ties: diagonal before vertical before
    global [I]. Source: Yang, Liu, Lee, Interspeech 2020.

    Args:
        measures: globalness, verticality, diagonality -> one value per head, all heads of all
            blocks in one order.

    Returns:
        "diagonal", "vertical" or "global" per head.
    """
    by_measure = {name: ranks(measures[name]) for name in CATEGORIES}
    heads = range(len(measures["globalness"]))
    return [CATEGORIES[min(CATEGORIES, key=lambda m: by_measure[m][head])] for head in heads]
