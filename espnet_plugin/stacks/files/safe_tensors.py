"""Tensors of a .safetensors file, read one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Tuple

import torch
from safetensors import SafetensorError, safe_open

from espnet_plugin.stacks.files.stored import FileError


@dataclass(frozen=True)
class SafeTensor:
    """One tensor of a file, not read yet."""

    path: Path
    name: str
    shape: Tuple[int, ...]

    def load(self) -> torch.Tensor:
        """Read it into memory of its own.

        Raises:
            FileError: the file is damaged.
        """
        with _open(self.path) as archive:
            return archive.get_tensor(self.name).clone()


def read_safetensors(path: Path) -> Dict[str, SafeTensor]:
    """The tensors of a file by name.

    Raises:
        FileError: no such file, or a damaged one.
        OSError: it cannot be opened.
    """
    with _open(path) as archive:
        return {
            name: SafeTensor(path, name, tuple(archive.get_slice(name).get_shape()))
            for name in archive.keys()
        }


def _open(path: Path) -> safe_open:
    try:
        return safe_open(str(path), framework="pt", device="cpu")
    except SafetensorError as error:
        raise FileError(f"{path.name} is damaged or no .safetensors file ({error})") from error
