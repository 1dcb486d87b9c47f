"""A stack from a configuration and the tensors of a file."""

from __future__ import annotations

from typing import Dict, Set

import torch
from torch import nn

from espnet_plugin.stacks.files.names import Tensors, numbered
from espnet_plugin.stacks.files.stored import FileError
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

_MASK = "frontend.mask_embedding"


def build_stack(config: Wav2Vec2Config, tensors: Tensors) -> Wav2Vec2Stack:
    """The stack of ``config`` with ``tensors``, which are read one by one into their places.

    The modules are built without memory, so nothing is initialised twice, and at no time is there
    more in memory than the stack and one tensor.

    Args:
        tensors: by our names. A checkpoint without an embedding for masked frames gets zeros.

    Raises:
        FileError: tensors that are missing, too many or of another shape than the configuration
            says.
    """
    blocks = numbered(tensors, "blocks")
    if blocks != config.blocks:
        raise FileError(f"it has {blocks} blocks, and its configuration {config.blocks}")
    stack = Wav2Vec2Stack(config, device="meta")
    _check({name: tuple(p.shape) for name, p in stack.named_parameters()}, tensors)
    for prefix, module in stack.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            tensor = tensors.get(f"{prefix}.{name}" if prefix else name)
            value = torch.zeros(parameter.shape) if tensor is None else tensor.load()
            if not value.is_floating_point():
                raise FileError(f"its tensor {prefix}.{name} holds whole numbers")
            setattr(module, name, nn.Parameter(value.to(torch.float32).contiguous()))
    return stack


def _check(expected: Dict[str, tuple], tensors: Tensors) -> None:
    missing = [name for name in expected if name not in tensors and name != _MASK]
    if missing:
        raise FileError(f"it has no {missing[0]}{_more(missing)}, by the names of docs/stacks.md")
    unknown: Set[str] = tensors.keys() - expected.keys()
    if unknown:
        first = min(unknown)
        raise FileError(f"it has {first}, and by its configuration there is none")
    for name, shape in expected.items():
        found = tuple(tensors[name].shape) if name in tensors else shape
        if found != shape:
            raise FileError(f"its {name} is {list(found)}, and by its configuration {list(shape)}")


def _more(names: list) -> str:
    return f" (nor {len(names) - 1} others)" if len(names) > 1 else ""
