"""A stack from a configuration and the tensors of a file."""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

import torch

from espnet_plugin.stacks.files.names import Readable, Tensors, numbered
from espnet_plugin.stacks.files.stored import FileError
from espnet_plugin.stacks.parameters import fill
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.plan import BlockPlan

_MASK = "frontend.mask_embedding"


def build_stack(
    config: Wav2Vec2Config, tensors: Tensors, plans: Sequence[BlockPlan] = ()
) -> Wav2Vec2Stack:
    """The stack of ``config``, edited by ``plans`` in turn, with ``tensors``.

    The modules are built without memory and get the tensors as they were read, so nothing is
    initialised and nothing copied. Shapes are compared before anything is read.

    Args:
        tensors: by our names, of the edited stack. A checkpoint without an embedding for masked
            frames gets zeros.

    Raises:
        FileError: tensors that are missing, too many or of another shape than the configuration
            says.
        PlanError: a plan that does not fit.
    """
    from espnet_plugin.surgery.apply import edit

    blocks = numbered(tensors, "blocks")
    if not plans and blocks != config.blocks:
        raise FileError(f"it has {blocks} blocks, and its configuration {config.blocks}")
    stack = Wav2Vec2Stack(config, "meta")
    for plan in plans:
        edit(stack, plan)
    _check({name: tuple(value.shape) for name, value in stack.state_dict().items()}, tensors)
    values = {name: _read(name, tensor) for name, tensor in tensors.items()}
    fill(stack, {_MASK: torch.zeros(config.width), **values})
    return stack


def _check(expected: Dict[str, Tuple[int, ...]], tensors: Tensors) -> None:
    missing = [name for name in expected if name not in tensors and name != _MASK]
    if missing:
        raise FileError(f"it has no {missing[0]}{_more(missing)}")
    unknown = sorted(tensors.keys() - expected.keys())
    if unknown:
        raise FileError(f"it has {unknown[0]}{_more(unknown)}, which its configuration has not")
    for name, tensor in tensors.items():
        found, shape = list(tensor.shape), list(expected[name])
        if found != shape:
            raise FileError(f"its {name} is {found}, and by its configuration {shape}")


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} others" if len(names) > 1 else ""


def _read(name: str, tensor: Readable) -> torch.Tensor:
    value = tensor.load()
    if not value.is_floating_point():
        raise FileError(f"its {name} holds {value.dtype}, no floating-point numbers")
    return value.to(torch.float32).contiguous()
