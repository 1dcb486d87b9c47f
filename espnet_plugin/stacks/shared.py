"""Blocks that are in a stack at two places: their tensors have the names of the first place."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, MutableMapping

from torch import nn


def twins(blocks: Iterable[nn.Module]) -> Dict[int, int]:
    """Of each place that has a block of an earlier place, the first such place."""
    places: Dict[int, List[int]] = {}
    for place, block in enumerate(blocks):
        places.setdefault(id(block), []).append(place)
    return {place: same[0] for same in places.values() for place in same[1:]}


def leave_out_twins(
    blocks: Iterable[nn.Module], state: MutableMapping[str, Any], prefix: str
) -> None:
    """Take the names of later places out of a state dict, in place.

    Args:
        blocks: the blocks, by place.
        state: a state dict that holds them.
        prefix: what stands before the place in its names.
    """
    for place in twins(blocks):
        for key in _keys(state, f"{prefix}{place}."):
            del state[key]


def fill_in_twins(
    blocks: Iterable[nn.Module], state: MutableMapping[str, Any], prefix: str
) -> None:
    """Give a state dict the names of later places, with the tensors of the first, in place."""
    for place, first in twins(blocks).items():
        for key in _keys(state, f"{prefix}{first}."):
            state[f"{prefix}{place}.{key[len(prefix) + len(str(first)) + 1 :]}"] = state[key]


def _keys(state: MutableMapping[str, Any], prefix: str) -> List[str]:
    return [key for key in state if key.startswith(prefix)]
