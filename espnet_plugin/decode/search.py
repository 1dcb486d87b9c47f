"""What a lattice says: its best path, and the sum over its paths."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, List, NamedTuple, Tuple

import torch
from torch import Tensor

from espnet_plugin.compat import require_k2

if TYPE_CHECKING:
    import k2


class BestPath(NamedTuple):
    """The best path of a lattice.

    ``labels`` are its output labels above 0, ``tokens`` its frames' tokens without repetitions
    and blanks; the scores are natural logarithms, summed in float64; ``score`` is that of
    ``lattice.scores``, the others are the unscaled parts.
    """

    labels: List[int]
    tokens: List[int]
    score: float
    am_score: float
    lm_score: float
    lexicon_score: float


def best_paths(lattice: k2.Fsa) -> Tuple[List[List[int]], List[float]]:
    """The best path of every lattice: output labels and score.

    Args:
        lattice: an FsaVec with axes [lattice][state][arc], ``aux_labels`` plain or ragged.

    Returns:
        Per lattice the labels above 0 in order, and the score (natural logarithm, summed in
        float64), −∞ for a lattice without a path.
    """
    k2 = require_k2()
    paths = k2.shortest_path(lattice, use_double_scores=True)
    shape = paths.arcs.shape()
    rows = shape.row_ids(1).long()[shape.row_ids(2).long()]
    scores = torch.full((paths.shape[0],), -torch.inf, dtype=torch.float64, device=rows.device)
    scores[rows] = 0.0
    scores.index_add_(0, rows, paths.scores.double())
    return k2.get_aux_labels(paths), scores.tolist()


def best_paths_in_parts(lattice: k2.Fsa) -> List[BestPath]:
    """The best path of every lattice with its tokens and the parts of its score.

    Args:
        lattice: an FsaVec with the attributes of :class:`espnet_plugin.decode.Lattices`.
    """
    k2 = require_k2()
    paths = k2.shortest_path(lattice, use_double_scores=True)
    labels = k2.get_aux_labels(paths)
    scores = paths.get_tot_scores(use_double_scores=True, log_semiring=False).tolist()
    shape = paths.arcs.shape()
    rows = shape.row_ids(1).long()[shape.row_ids(2).long()]
    parts = [
        torch.zeros(len(labels), dtype=torch.float64, device=rows.device)
        .index_add_(0, rows, getattr(paths, name).double())
        .tolist()
        for name in ("am_scores", "lm_scores", "lexicon_scores")
    ]
    frames: List[List[int]] = [[] for _ in labels]
    for row, label in zip(rows.tolist(), paths.labels.tolist(), strict=True):
        frames[row].append(label)
    tokens = [[token for token, _ in groupby(one) if token > 0] for one in frames]
    return [BestPath(*fields) for fields in zip(labels, tokens, scores, *parts, strict=True)]


def total_scores(lattice: k2.Fsa) -> Tensor:
    """The log of the summed probability of all paths of every lattice: (N,), float64.

    For a lattice of one transcript's CTC graph within unlimited beams this is minus the CTC
    loss (Graves et al. 2006).
    """
    return lattice.get_tot_scores(use_double_scores=True, log_semiring=True)
