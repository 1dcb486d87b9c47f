"""Foreign names of parameters, turned into ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Dict, List, Mapping, Protocol, Tuple

import torch

from espnet_plugin.stacks.files.stored import FileError

_PARTS = {"{i}": r"(?P<i>\d+)", "{part}": "(?P<part>weight|bias)"}


class Readable(Protocol):
    """A tensor that can be read from a file."""

    @property
    def shape(self) -> Tuple[int, ...]: ...

    def load(self) -> torch.Tensor: ...


Tensors = Dict[str, Readable]


@dataclass(frozen=True)
class Reshaped:
    """A tensor that is seen in another shape of as many elements."""

    source: Readable
    shape: Tuple[int, ...]

    def load(self) -> torch.Tensor:
        """Read it."""
        return self.source.load().reshape(self.shape)


def flat(tensor: Readable) -> Reshaped:
    """The tensor with one dimension."""
    return Reshaped(tensor, (prod(tensor.shape),))


class Table:
    """A table of names; ``{i}`` stands for a number and ``{part}`` for weight or bias.

    Args:
        names: foreign name -> ours.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._rules: List[Tuple[re.Pattern[str], str]] = []
        for foreign, ours in names.items():
            pattern = re.escape(foreign)
            for part, group in _PARTS.items():
                pattern = pattern.replace(re.escape(part), group)
            self._rules.append((re.compile(pattern), ours))

    def translate(self, tensors: Tensors) -> Tensors:
        """The tensors that the table knows, under our names; the others are left out."""
        found: Tensors = {}
        for name, tensor in tensors.items():
            for pattern, ours in self._rules:
                match = pattern.fullmatch(name)
                if match:
                    found[ours.format(**match.groupdict())] = tensor
                    break
        return found


def below(tensors: Tensors, anchor: str) -> Tensors:
    """The tensors beside the one called ``anchor``, without what comes before their names.

    A model with a head has its encoder's tensors below a prefix, such as ``wav2vec2.``.

    Raises:
        FileError: no such tensor, or several.
    """
    prefixes = [name[: -len(anchor)] for name in tensors if name.endswith(anchor)]
    if len(prefixes) != 1:
        found = "no" if not prefixes else "more than one"
        raise FileError(f"it has {found} encoder (a tensor named {anchor})")
    length = len(prefixes[0])
    return {name[length:]: t for name, t in tensors.items() if name.startswith(prefixes[0])}


def numbered(tensors: Tensors, prefix: str) -> int:
    """How many entries a list of modules has: one more than the greatest number in it."""
    found = [re.match(re.escape(prefix) + r"\.(\d{1,6})\.", name) for name in tensors]
    return 1 + max((int(match.group(1)) for match in found if match), default=-1)
