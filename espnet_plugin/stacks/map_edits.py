"""Attention maps that are changed between the softmax and the values, for as long as one asks."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Iterator, Optional

from torch import Tensor, nn

from espnet_plugin.stacks.hooks import _lengths, attentions_of, stack_in

MapEdit = Callable[[int, Tensor, Tensor], Tensor]

_FUSED = ("use_sdpa", "use_flash_attn")


@contextmanager
def edited_maps(encoder: nn.Module, edit: MapEdit) -> Iterator[None]:
    """Run with ``edit(block, maps, lengths)`` in the place of the maps in the body.

    The encoder's parameters stay as they are, and leaving the body, by an exception too, takes
    every trace of the edit away. Maps that :func:`espnet_plugin.stacks.hooks.attention_maps` shows
    in the body are the edited ones.

    Args:
        encoder: whatever :func:`espnet_plugin.stacks.hooks.attention_maps` takes.
        edit: gets the number of each block that has a map of its own (of a stack: its place); the
            maps (B, H, T, T) after softmax and before dropout; the valid frames (B,), int64, on
            the maps' device or the CPU. Returns maps of the same shape; must not change its
            argument. Blocks that follow a leader get the leader's edited map.

    Raises:
        TypeError: a block whose attention is of no known kind.
        RuntimeError: the maps are being edited already.
    """
    stack = stack_in(encoder)
    with ExitStack() as edits:
        if stack is not None:
            edits.enter_context(_attribute(stack, "map_edit", edit))
        else:
            for block, attention in enumerate(attentions_of(encoder)):
                if attention is not None:
                    edits.enter_context(_edited(attention, block, edit))
        yield


@contextmanager
def _attribute(holder: Any, name: str, value: Any) -> Iterator[None]:
    if getattr(holder, name) is not None:
        raise RuntimeError(f"the maps of {type(holder).__name__} are being edited already")
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, None)


@contextmanager
def _edited(attention: Any, block: int, edit: MapEdit) -> Iterator[None]:
    if hasattr(attention, "map_edit"):
        change = lambda maps, mask: edit(block, maps, _lengths(maps, mask))  # noqa: E731
        with _attribute(attention, "map_edit", change):
            yield
        return
    before = attention.dropout
    if isinstance(before, _EditThenDropout):
        raise RuntimeError(f"the maps of block {block} are being edited already")
    fused = {name: getattr(attention, name) for name in _FUSED if hasattr(attention, name)}
    inserted = _EditThenDropout(attention, block, edit)

    def remember(module: Any, inputs: Any) -> None:
        inserted.mask = inputs[-1]

    handle = attention.register_forward_pre_hook(remember)
    try:
        for name in fused:
            setattr(attention, name, False)
        attention.dropout = inserted
        yield
    finally:
        attention.dropout, attention.attn = before, None
        handle.remove()
        for name, value in fused.items():
            setattr(attention, name, value)


class _EditThenDropout(nn.Module):
    """In the place of the dropout of ESPnet's attention, which takes the map after softmax."""

    def __init__(self, attention: Any, block: int, edit: MapEdit) -> None:
        super().__init__()
        self.dropout, self.block, self.edit = attention.dropout, block, edit
        self.mask: Optional[Tensor] = None
        self._attention = (attention,)  # not a part of this module

    def forward(self, maps: Tensor) -> Tensor:
        edited = self.edit(self.block, maps, _lengths(maps, self.mask))
        self._attention[0].attn = edited  # what hooks and ESPnet's plots read
        return self.dropout(edited)
