"""How alike two phones are: the same, a voicing pair, of one manner of articulation, or other."""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

import torch
from torch import Tensor

from espnet_plugin.data.phones import SILENCE, VOWELS

KINDS = ("same", "similar", "class", "other")
"""Of pairs of phones; a pair is of the first kind that fits. Silence is in no pair."""

MANNERS: Dict[str, Tuple[str, ...]] = {
    "vowel": VOWELS,
    "plosive": tuple("B D G K P T".split()),
    "fricative": tuple("DH F HH S SH TH V Z ZH".split()),
    "affricate": tuple("CH JH".split()),
    "nasal": tuple("M N NG".split()),
    "approximant": tuple("L R W Y".split()),
}
"""Manner of articulation -> phones."""

PAIRS = tuple(tuple(pair.split("/")) for pair in "P/B T/D K/G F/V TH/DH S/Z SH/ZH CH/JH".split())
"""Phones that differ in voice alone; Shim et al. 2022 name B/P, G/K and S/Z as similar."""


def pair_kinds(symbols: Sequence[str]) -> Tensor:
    """(4, C, C) bool, in the order of :data:`KINDS`: which pairs of classes are of which kind.

    Args:
        symbols: of the classes; vowels with or without stress. Vowels that differ in stress alone
            are of one class, not the same.
    """
    bare = [symbol.rstrip("012") for symbol in symbols]
    manner = {phone: name for name, phones in MANNERS.items() for phone in phones}
    close = {frozenset(pair) for pair in PAIRS}
    found = torch.zeros(len(KINDS), len(bare), len(bare), dtype=torch.bool)
    for p, first in enumerate(bare):
        for q, second in enumerate(bare):
            if SILENCE in (first, second):
                continue
            if p == q:
                kind = 0
            elif frozenset((first, second)) in close:
                kind = 1
            else:
                kind = 2 if manner[first] == manner[second] else 3
            found[kind, p, q] = True
    return found


def pair_places(symbols: Sequence[str]) -> Dict[str, Tuple[int, int]]:
    """ "P/B" -> the places of P and B, of the pairs that differ in voice alone."""
    place = {symbol: n for n, symbol in enumerate(symbols)}
    return {f"{p}/{q}": (place[p], place[q]) for p, q in PAIRS}
