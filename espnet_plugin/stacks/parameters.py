"""Parameters put into a module without a copy, and cut out of a linear layer."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import torch
from torch import Tensor, nn

from espnet_plugin.encoders.onednn import adopt


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make ``tensors`` the parameters and buffers of ``module``, which may be on "meta".

    Nothing is copied: the module holds these very tensors; only those of other types than the
    module's are converted.

    Args:
        module: its parameters are replaced.
        tensors: by the names of ``module.state_dict()``, all of them and no others.

    Raises:
        ValueError: one line that names a tensor that is missing, unknown or of another shape.
    """
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in tensors]
    unknown = [name for name in tensors if name not in wanted]
    if missing or unknown:
        name, what = (missing[0], "is missing") if missing else (unknown[0], "has no place")
        more = len(missing) + len(unknown) - 1
        raise ValueError(f"{name} {what}" + (f" (and {more} more do not fit)" if more else ""))
    for name, old in wanted.items():
        new = tensors[name]
        if new.shape != old.shape:
            raise ValueError(f"{name} is {list(new.shape)}, not {list(old.shape)}")
        *path, last = name.split(".")
        owner = module.get_submodule(".".join(path))
        new = new.detach().to(old.dtype)
        if last in owner._parameters:
            old_parameter = owner._parameters[last]
            needs = old_parameter is None or old_parameter.requires_grad
            owner._parameters[last] = nn.Parameter(new, requires_grad=needs)
        else:
            owner._buffers[last] = new


def keep_outputs(linear: nn.Linear, index: Sequence[int]) -> nn.Linear:
    """A layer of the same class that gives only the outputs ``index``; its parameters are new."""
    return _cut(linear, index, 0)


def keep_inputs(linear: nn.Linear, index: Sequence[int]) -> nn.Linear:
    """A layer of the same class that takes only the inputs ``index``; its parameters are new."""
    return _cut(linear, index, 1)


def _cut(linear: nn.Linear, index: Sequence[int], axis: int) -> nn.Linear:
    layer: Any = adopt(type(linear), linear)
    layer.weight = select(linear.weight, index, axis)
    if linear.bias is not None:
        layer.bias = select(linear.bias, index if axis == 0 else range(linear.out_features), 0)
    layer.out_features, layer.in_features = layer.weight.shape
    return layer


def select(parameter: Tensor, index: Sequence[int], axis: int) -> nn.Parameter:
    """A parameter of its own with the entries ``index`` of ``axis``."""
    where = torch.tensor(list(index), dtype=torch.int64, device=parameter.device)
    part = parameter.detach().index_select(axis, where)
    return nn.Parameter(part, requires_grad=parameter.requires_grad)


def columns(heads: Sequence[int], head_size: int) -> Sequence[int]:
    """The columns of ``heads`` where each has ``head_size``, side by side."""
    return [head * head_size + i for head in heads for i in range(head_size)]


def kept(heads: int, pruned: Sequence[int]) -> Sequence[int]:
    """The heads that are left of ``heads`` without ``pruned``.

    Raises:
        ValueError: a head that is not there.
    """
    for head in pruned:
        if not 0 <= head < heads:
            raise ValueError(f"head {head} is not there (heads 0 to {heads - 1})")
    return [head for head in range(heads) if head not in set(pruned)]
