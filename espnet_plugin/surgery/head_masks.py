"""Heads without effect and attention of limited span, for as long as one asks.

Yang, Liu, Lee, Interspeech 2020 (arXiv 2006.03265), section 5: a pruned head's map is multiplied by
zero after the softmax, the others stay as they are, and nothing is trained; a span limit sets
A[q, k] = 0 where |q − k| > r. That the rows are not renormalised there is our reading [I]; it can
be asked for.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from typing import Dict, Iterable, Iterator, List, Mapping, Set, Tuple, Union

import torch
from torch import Tensor, nn

from espnet_plugin.stacks.map_edits import edited_maps

Head = Tuple[int, int]
"""(block, head), from 0; of a stack the block's place, and the head among those that are left."""


@contextmanager
def masked_heads(encoder: nn.Module, heads: Iterable[Head]) -> Iterator[None]:
    """Multiply the maps of ``heads`` by zero in the body, with no renormalising.

    On a stack it equals the plan that prunes these heads physically. Masking the head of a block
    whose map others reuse masks it for them too: a head is a map, whoever uses it.

    Args:
        encoder: see :func:`espnet_plugin.stacks.map_edits.edited_maps`.
        heads: each of a block with a map of its own.

    Raises:
        ValueError: a head that is not there, in the first forward pass; a block that showed no map
            of its own in any of them, at the end of the body.
        TypeError, RuntimeError: as ``edited_maps``.
    """
    by_block: Dict[int, List[int]] = defaultdict(list)
    for block, head in heads:
        by_block[block].append(head)
    shown: Set[int] = set()

    def mask(block: int, maps: Tensor, lengths: Tensor) -> Tensor:
        shown.add(block)
        chosen = by_block.get(block)
        if not chosen:
            return maps
        if not 0 <= min(chosen) <= max(chosen) < maps.size(1):
            raise ValueError(f"block {block} has {maps.size(1)} heads, and not {sorted(chosen)}")
        maps = maps.clone()
        maps[:, chosen] = 0.0
        return maps

    with edited_maps(encoder, mask):
        yield
    absent = sorted(set(by_block) - shown)
    if shown and absent:
        raise ValueError(
            f"block {absent[0]} has no map of its own to mask (those that have: {sorted(shown)})"
        )


@contextmanager
def limited_span(
    encoder: nn.Module,
    span: Union[int, Mapping[int, int]],
    renormalise: bool = False,
) -> Iterator[None]:
    """Attend only to frames at most ``span`` away in the body.

    Args:
        encoder: see :func:`espnet_plugin.stacks.map_edits.edited_maps`.
        span: r, 0 or more, of all blocks with a map of their own; or block -> r, the others whole.
        renormalise: divide what is left of each row by its sum: the softmax over the frames inside,
            which is what ``local_attention`` of a block plan does.

    Raises:
        ValueError: a negative span.
        TypeError, RuntimeError: as ``edited_maps``.
    """
    least = span if isinstance(span, int) else min(span.values(), default=0)
    if least < 0:
        raise ValueError(f"a span is 0 frames or more, not {least}")

    def limit(block: int, maps: Tensor, lengths: Tensor) -> Tensor:
        reach = span if isinstance(span, int) else span.get(block)
        return maps if reach is None else near(maps, reach, renormalise)

    with edited_maps(encoder, limit):
        yield


def near(maps: Tensor, span: int, renormalise: bool = False) -> Tensor:
    """Maps (…, T, T) with zeros where |q − k| > span; ``maps`` itself where nothing is.

    A row of which nothing is left (of padding) stays zero when it is renormalised.
    """
    frames = torch.arange(maps.size(-1), device=maps.device)
    far = (frames[:, None] - frames).abs() > span
    if not bool(far.any()):
        return maps
    left = maps.masked_fill(far, 0.0)
    if not renormalise:
        return left
    return left / left.sum(-1, keepdim=True).clamp(min=torch.finfo(left.dtype).tiny)
