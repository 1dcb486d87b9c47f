"""The arcs of a lattice that are on good paths, for searches that are slow in large lattices.

The lattice of half a minute of noise can have more than ten million arcs, of which the best
hundred paths use some thousands.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Tuple

import torch
from torch import Tensor

from espnet_plugin.compat import require_k2

if TYPE_CHECKING:
    import k2


def arc_distances(lattice: k2.Fsa) -> Tensor:
    """How much worse than the best path of its lattice the best path through each arc is.

    Args:
        lattice: an FsaVec of top-sorted lattices.

    Returns:
        (A,) float64, natural logarithm: 0 or above, infinite on arcs without a complete path;
        −1 on the arcs of one best path.
    """
    k2 = require_k2()
    options = {"use_double_scores": True, "log_semiring": False}
    bare = k2.Fsa(lattice.arcs)
    forward, backward = bare.get_forward_scores(**options), bare.get_backward_scores(**options)
    shape = lattice.arcs.shape()
    rows = shape.row_ids(1).long()[shape.row_ids(2).long()]
    offsets = shape.row_splits(1).long()[rows]
    arcs = lattice.arcs.values()
    through = forward[arcs[:, 0] + offsets] + bare.scores
    through += backward[arcs[:, 1] + offsets]
    distances = bare.get_tot_scores(**options)[rows] - through
    distances = torch.where(distances.isfinite(), distances.clamp(min=0.0), math.inf)
    bare.number = torch.arange(len(arcs), dtype=torch.int32, device=arcs.device)
    distances[k2.shortest_path(bare, use_double_scores=True).number.long()] = -1.0
    return distances


def nearest_arcs(distances: Tensor, count: int) -> Tuple[Tensor, float]:
    """The ``count`` arcs of one lattice that are nearest to its best path.

    Every arc of a path is at least as near as the path's score to the best one. So all paths
    that are worse than the best by less than the second value returned, the margin, consist of
    these arcs, and what a search for the best paths finds within the margin is what it would
    have found in the whole lattice.

    Args:
        distances: of :func:`arc_distances`, those of the lattice.
        count: how many; the best path's own arcs are always among them.

    Returns:
        Their numbers, ascending, and the margin: infinite if nothing on a path is left out.
    """
    best = int((distances < 0).sum())
    usable = int(distances.isfinite().sum())
    count = min(max(count, best), usable)
    values, numbers = torch.topk(distances, count, largest=False)
    margin = math.inf if count == usable else max(0.0, float(values[-1]))
    return numbers.sort().values, margin
