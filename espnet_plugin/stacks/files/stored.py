"""Tensors that lie in a file and are read one by one, when somebody asks for them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional, Tuple

import torch

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
"""Element type of torch's storage classes, by their names in files."""

TYPES = {str(dtype).split(".")[1]: dtype for dtype in STORAGES.values()}
"""The same types by their own names."""


class FileError(ValueError):
    """What is wrong with a file; the message does not name it."""


def item_size(dtype: torch.dtype) -> int:
    """Bytes of one element."""
    return torch.empty(0, dtype=dtype).element_size()


@dataclass
class Storage:
    """A run of bytes in a file."""

    path: Path
    dtype: torch.dtype
    size: int
    """Bytes."""
    start: Optional[int] = None
    """Where it begins in the file; files of the old kind tell that after everything else."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that has not been read: its place in the file, its type and its shape."""

    storage: Storage
    offset: int
    """Elements from the beginning of the storage."""
    shape: Tuple[int, ...]
    stride: Tuple[int, ...]
    dtype: torch.dtype

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.stride)
        if len(self.shape) != len(self.stride) or any(type(n) is not int or n < 0 for n in numbers):
            raise FileError("a tensor of impossible shape")
        if (self.offset + self._span) * item_size(self.dtype) > self.storage.size:
            raise FileError("a tensor that reaches beyond its data")

    @property
    def _span(self) -> int:
        """Elements from the first to the last, both included."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))

    def rows(self, first: int, last: int) -> StoredTensor:
        """The rows from ``first`` to before ``last``.

        Raises:
            FileError: there are not so many.
        """
        if not self.shape or not 0 <= first <= last <= self.shape[0]:
            raise FileError("a tensor of impossible shape")
        offset = self.offset + first * self.stride[0]
        return replace(self, offset=offset, shape=(last - first, *self.shape[1:]))

    def load(self) -> torch.Tensor:
        """Read the tensor, and nothing else of its storage.

        Raises:
            FileError: the file ends before the tensor does.
        """
        size = item_size(self.dtype)
        data = torch.empty(self._span * size, dtype=torch.uint8)
        start = self.storage.start
        if start is None:
            raise FileError("a tensor without data")
        left = memoryview(data.numpy())
        with open(self.storage.path, "rb", buffering=0) as stream:
            stream.seek(start + self.offset * size, os.SEEK_SET)
            while left:
                read = stream.readinto(left)
                if not read:
                    raise FileError("it ends too early; copy or download it again")
                left = left[read:]
        return data.view(self.dtype).as_strided(self.shape, self.stride)
