"""Lattices made of the arcs of another one, with all their attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from espnet_plugin.compat import require_k2

if TYPE_CHECKING:
    import k2


def rebuild(
    lattice: k2.Fsa,
    arc_map: Tensor,
    source: Tensor,
    destination: Tensor,
    state_splits: Tensor,
    arc_splits: Tensor,
) -> k2.Fsa:
    """An FsaVec of N lattices whose arcs are copies of another FsaVec's.

    Args:
        lattice: where labels, scores and attributes come from.
        arc_map: (A,) which of its arcs each new arc copies.
        source: (A,) states within their lattice, ascending in each lattice.
        destination: (A,) likewise.
        state_splits: (N + 1,) where the states of each new lattice begin, all counted through.
        arc_splits: (N + 1,) likewise for the arcs.
    """
    k2 = require_k2()
    int32 = torch.int32
    columns = lattice.arcs.values()[arc_map, 2:]
    arcs = torch.cat([torch.stack([source, destination], dim=1).to(int32), columns], dim=1)
    head = torch.tensor([len(state_splits) - 1, 0], dtype=int32, device=arcs.device)
    # the form of k2.Fsa.as_dict for an FsaVec
    numbers = torch.cat([head, state_splits.to(int32), arc_splits.to(int32), arcs.flatten()])
    fsa = k2.Fsa(numbers)
    index = arc_map.to(int32)
    for name, value in lattice.named_tensor_attr(include_scores=False):
        if isinstance(value, Tensor):
            setattr(fsa, name, value[arc_map])
        else:
            setattr(fsa, name, value.index(index, axis=0, need_value_indexes=False)[0])
    for name, value in lattice.named_non_tensor_attr():
        if name != "labels_version":
            setattr(fsa, name, value)
    return fsa


def prune(lattice: k2.Fsa, share: float) -> k2.Fsa:
    """Cut out the arcs whose best path is far from the best.

    Args:
        lattice: an FsaVec of top-sorted lattices.
        share: of the largest distance (in score) that an arc's best path has from the lattice's
            best, between 0 and 1: how much is allowed. The best path always stays.
    """
    k2 = require_k2()
    options = {"use_double_scores": True, "log_semiring": False}
    forward, backward = (
        lattice.get_forward_scores(**options),
        lattice.get_backward_scores(**options),
    )
    shape = lattice.arcs.shape()
    rows = shape.row_ids(1).long()[shape.row_ids(2).long()]
    offsets = shape.row_splits(1).long()[rows]
    arcs = lattice.arcs.values()
    through = forward[arcs[:, 0] + offsets] + lattice.scores + backward[arcs[:, 1] + offsets]
    best = lattice.get_tot_scores(**options)
    distance = best[rows] - through
    finite = torch.isfinite(distance)
    largest = torch.zeros_like(best)
    for row in range(len(best)):
        here = distance[finite & (rows == row)]
        largest[row] = here.max() if len(here) else 0.0
    # the best path's own arcs lie at 0, but for rounding
    kept = torch.nonzero(finite & (distance <= share * largest[rows] + 1e-6)).flatten()
    counts = torch.bincount(rows[kept], minlength=len(best))
    splits = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    fsa = rebuild(lattice, kept, arcs[kept, 0], arcs[kept, 1], shape.row_splits(1), splits)
    return k2.connect(fsa)
