"""Attention maps and hidden states of every block of an encoder, only while someone asks."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Iterator, List, Optional

import torch
from torch import nn

from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.state import zero_padding

Callback = Callable[[int, torch.Tensor, torch.Tensor], None]

_FUSED = ("use_sdpa", "use_flash_attn")
_ATTENTION = ("self_attn", "attn")  # in Conformers and Transformers, in Branchformers


@contextmanager
def attention_maps(encoder: nn.Module, callback: Callback) -> Iterator[None]:
    """Call ``callback(block, maps, lengths)`` for each block of each forward pass in the body.

    Args:
        encoder: a stack, or one of our encoders that run one; or ESPnet's ConformerEncoder,
            TransformerEncoder, BranchformerEncoder or EBranchformerEncoder, or our
            reuse_conformer.
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
        with _replaced(
            stack, "map_hook", lambda n, maps, lengths: callback(n, maps, lengths.cpu())
        ):
            yield
        return
    with ExitStack() as hooks:
        for block, attention in enumerate(attentions_of(encoder)):
            if attention is not None:
                hooks.enter_context(_hooked(attention, block, callback))
        yield


@contextmanager
def hidden_states(encoder: nn.Module, callback: Callback) -> Iterator[None]:
    """Call ``callback(number, states, lengths)`` for each hidden state of each forward pass.

    Args:
        encoder: as for :func:`attention_maps`.
        callback: gets the number of the state: 0 enters block 0, l + 1 leaves block l; the state
            (B, T, D), zero on padded frames, that of the last block after the final norm; the
            valid frames (B,), int64.

    Raises:
        TypeError: an encoder without a list of blocks, or one that takes frames out between them
            (``ctc_trim``).
    """
    stack = stack_in(encoder)
    if stack is not None:
        with _replaced(stack, "state_hook", lambda n, x, lengths: callback(n, x, lengths.cpu())):
            yield
        return
    blocks = _blocks(encoder)
    if getattr(encoder, "ctc_trim", False):
        raise TypeError(f"{type(encoder).__name__} with ctc_trim takes frames out between blocks")

    def show(number: int, x: Any, mask: Optional[torch.Tensor]) -> None:
        while isinstance(x, tuple):  # with positions, a mask, maps
            x = x[0]
        lengths = _lengths(x, mask)
        valid = torch.arange(x.size(1)) < lengths[:, None]
        callback(
            number, zero_padding(x, None if bool(valid.all()) else valid.to(x.device)), lengths
        )

    def enter(block: nn.Module, inputs: Any) -> None:
        show(0, inputs[0], _mask_of(inputs))

    def leave(number: int) -> Any:
        return lambda block, inputs, output: show(number, output, _mask_of(inputs))

    def finish(module: nn.Module, inputs: Any, output: Any) -> None:
        x = output[0][0] if isinstance(output[0], tuple) else output[0]
        frames = torch.arange(x.size(1))
        show(len(blocks), x, (frames < output[1].cpu()[:, None]).unsqueeze(1))

    handles = [blocks[0].register_forward_pre_hook(enter), encoder.register_forward_hook(finish)]
    handles += [b.register_forward_hook(leave(n + 1)) for n, b in enumerate(blocks[:-1])]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def stack_in(encoder: nn.Module) -> Optional[Stack]:
    """The stack that ``encoder`` is, or that it runs; None: an encoder of ESPnet's own kind."""
    stack = encoder if isinstance(encoder, Stack) else getattr(encoder, "stack", None)
    return stack if isinstance(stack, Stack) else None


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def attentions_of(encoder: nn.Module) -> List[Any]:
    """The self-attention of each block of an encoder of ESPnet's kind; None: a block without it,
    as of a Branchformer of which only the other branch is left.

    Raises:
        TypeError: a block whose attention is of no known kind.
    """
    attentions = []
    for number, block in enumerate(_blocks(encoder)):
        name = next((name for name in _ATTENTION if hasattr(block, name)), None)
        attention = None if name is None else getattr(block, name)
        branch = name is not None and attention is None
        readable = any(hasattr(attention, name) for name in ("map_hook", "forward_attention"))
        if not branch and not readable:
            raise TypeError(
                f"block {number} of {type(encoder).__name__} has {type(attention).__name__} for "
                "self-attention, whose maps cannot be read"
            )
        attentions.append(attention)
    return attentions


def _blocks(encoder: nn.Module) -> List[nn.Module]:
    blocks: Any = getattr(encoder, "encoders", None)
    if blocks is None:
        raise TypeError(
            f"{type(encoder).__name__} has no list of blocks named 'encoders': nothing to look at"
        )
    return list(blocks)


def _mask_of(inputs: Any) -> Optional[torch.Tensor]:
    """The mask among a block's inputs: (x, mask), or of our reuse_conformer (x, positions, mask,
    maps)."""
    return inputs[1] if len(inputs) == 2 else inputs[2]


@contextmanager
def _hooked(attention: Any, block: int, callback: Callback) -> Iterator[None]:
    if hasattr(attention, "map_hook"):
        look = lambda maps, mask: callback(block, maps, _lengths(maps, mask))  # noqa: E731
        with _replaced(attention, "map_hook", look):
            yield
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


def _lengths(values: torch.Tensor, mask: Optional[torch.Tensor]) -> torch.Tensor:
    """Valid frames from ESPnet's mask (B, 1, T) or (B, T, T), true where a key counts.

    Args:
        values: maps (B, H, T, T) or states (B, T, D).
    """
    batch, frames = values.shape[0], values.shape[-2]
    if mask is None:
        return torch.full((batch,), frames, dtype=torch.int64)
    return mask.bool().any(dim=1).sum(-1).to("cpu", torch.int64).expand(batch)
