"""Attention maps of every block of an encoder, computed only while someone asks for them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Iterator, List, Optional

import torch
from torch import nn

from espnet_plugin.stacks.stack import Stack

Callback = Callable[[int, torch.Tensor, torch.Tensor], None]

_FUSED = ("use_sdpa", "use_flash_attn")


@contextmanager
def attention_maps(encoder: nn.Module, callback: Callback) -> Iterator[None]:
    """Call ``callback(block, maps, lengths)`` for each block of each forward pass in the body.

    Args:
        encoder: a stack, or one of our encoders that run one; or ESPnet's ConformerEncoder or
            TransformerEncoder, or our reuse_conformer.
        callback: gets the number of the block, from 0 (of a stack: its place in ``blocks``, those
            that are left; heads that are pruned have no map); its maps (B, H, T, T) as the model
            computed them, after softmax and before dropout, in the model's type and on its
            device; the valid frames (B,), int64. For a block that reuses another's map that map.
            The maps are freed when it returns, unless it keeps them.

    Encoders with SDPA or flash attention never hold a map; in the body they take the explicit
    path of the same parameters, and the fused one again afterwards.

    Raises:
        TypeError: a block whose attention is of no known kind.
    """
    stack = stack_in(encoder)
    if stack is not None:
        with _looking(stack, callback):
            yield
        return
    with ExitStack() as hooks:
        for block, attention in enumerate(_attentions(encoder)):
            hooks.enter_context(_hooked(attention, block, callback))
        yield


def stack_in(encoder: nn.Module) -> Optional[Stack]:
    """The stack that ``encoder`` is, or that it runs; None: an encoder of ESPnet's own kind."""
    stack = encoder if isinstance(encoder, Stack) else getattr(encoder, "stack", None)
    return stack if isinstance(stack, Stack) else None


@contextmanager
def _looking(stack: Stack, callback: Callback) -> Iterator[None]:
    before = stack.map_hook
    stack.map_hook = lambda place, maps, lengths: callback(place, maps, lengths.cpu())
    try:
        yield
    finally:
        stack.map_hook = before


def _attentions(encoder: nn.Module) -> List[Any]:
    name = type(encoder).__name__
    blocks = getattr(encoder, "encoders", None)
    if blocks is None:
        raise TypeError(f"{name} has no list of blocks named 'encoders': no maps to look at")
    attentions = []
    for number, block in enumerate(blocks):
        attention = getattr(block, "self_attn", None)
        if not hasattr(attention, "map_hook") and not hasattr(attention, "forward_attention"):
            raise TypeError(
                f"block {number} of {name} has {type(attention).__name__} for self-attention, "
                "whose maps cannot be read"
            )
        attentions.append(attention)
    return attentions


@contextmanager
def _hooked(attention: Any, block: int, callback: Callback) -> Iterator[None]:
    if hasattr(attention, "map_hook"):
        before = attention.map_hook
        attention.map_hook = lambda maps, mask: callback(block, maps, _lengths(maps, mask))
        try:
            yield
        finally:
            attention.map_hook = before
        return

    def read(module: Any, inputs: Any, output: Any) -> None:
        maps, module.attn = module.attn, None
        callback(block, maps, _lengths(maps, inputs[-1]))

    fused = {name: getattr(attention, name) for name in _FUSED if hasattr(attention, name)}
    for name in fused:
        setattr(attention, name, False)
    handle = attention.register_forward_hook(read)
    try:
        yield
    finally:
        handle.remove()
        attention.attn = None
        for name, value in fused.items():
            setattr(attention, name, value)


def _lengths(maps: torch.Tensor, mask: Optional[torch.Tensor]) -> torch.Tensor:
    """Valid frames from ESPnet's mask (B, 1, T) or (B, T, T), true where a key counts."""
    batch, frames = maps.shape[0], maps.shape[-1]
    if mask is None:
        return torch.full((batch,), frames, dtype=torch.int64)
    return mask.bool().any(dim=1).sum(-1).to("cpu", torch.int64).expand(batch)
