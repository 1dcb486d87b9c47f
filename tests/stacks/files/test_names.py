"""Names are turned into ours by a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import pytest
import torch

from espnet_plugin.stacks.files.names import Table, below, flat, numbered
from espnet_plugin.stacks.files.stored import FileError


@dataclass(frozen=True)
class InMemory:
    """A tensor that needs no file."""

    value: torch.Tensor

    @property
    def shape(self) -> Tuple[int, ...]:
        return tuple(self.value.shape)

    def load(self) -> torch.Tensor:
        return self.value


A, B = InMemory(torch.zeros(1, 3, 1, 1)), InMemory(torch.ones(2))


def test_a_table_translates_whole_names_and_leaves_out_the_others():
    table = Table({"layers.{i}.a.{part}": "blocks.{i}.b.{part}", "mask": "m"})
    found = table.translate(
        {"layers.12.a.bias": A, "mask": B, "xlayers.1.a.bias": A, "layers.x.a.bias": A, "head": B}
    )
    assert found == {"blocks.12.b.bias": A, "m": B}


def test_tensors_below_the_prefix_of_a_known_one():
    tensors = {"w2v.model.first": A, "w2v.model.second": B, "head": B}
    assert below(tensors, "first") == {"first": A, "second": B}
    assert below({"first": A}, "first") == {"first": A}
    for wrong in ({}, {"a.first": A, "b.first": A}):
        with pytest.raises(FileError, match="encoder"):
            below(wrong, "first")


def test_numbered():
    assert numbered({"blocks.0.a": A, "blocks.10.b": A, "other.20.a": A}, "blocks") == 11
    assert numbered({"a": A}, "blocks") == 0


def test_flat():
    assert flat(A).shape == (3,) and flat(A).load().shape == (3,)
