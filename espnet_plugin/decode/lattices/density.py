"""Lattice density: how many arcs cross a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterable, List

import torch

if TYPE_CHECKING:
    import k2


@dataclass(frozen=True)
class Density:
    """Counts of one lattice, or of several together.

    Attributes:
        frames: its frames.
        arcs: arcs that take a frame; those to the final state take none.
    """

    frames: int
    arcs: int

    @property
    def density(self) -> float:
        """Mean number of arcs that cross a frame (Kaldi's ``lattice-depth``); 0 without frames.

        Every arc of a CTC lattice lasts one frame, so this is arcs per frame; a lattice of one
        path has 1.
        """
        return self.arcs / self.frames if self.frames else 0.0


def densities(lattice: k2.Fsa) -> List[Density]:
    """The density of every lattice of an FsaVec.

    Args:
        lattice: with the attribute ``frame``, −1 on arcs that take no frame.
    """
    shape = lattice.arcs.shape()
    rows = shape.row_ids(1).long()[shape.row_ids(2).long()]
    arcs = torch.zeros(lattice.shape[0], dtype=torch.int64, device=lattice.device)
    frames = arcs.clone()
    arcs.index_add_(0, rows, (lattice.frame >= 0).long())
    for row in range(lattice.shape[0]):
        own = lattice.frame[rows == row]
        frames[row] = int(own.max()) + 1 if len(own) else 0
    return [Density(*pair) for pair in zip(frames.tolist(), arcs.tolist(), strict=True)]


def total(parts: Iterable[Density]) -> Density:
    """All lattices together: their arcs over their frames."""
    parts = list(parts)
    return Density(sum(one.frames for one in parts), sum(one.arcs for one in parts))
