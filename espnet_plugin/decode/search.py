"""What a lattice says: its best path, and the sum over its paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Tuple

from torch import Tensor

from espnet_plugin.compat import require_k2

if TYPE_CHECKING:
    import k2


def best_paths(lattice: k2.Fsa) -> Tuple[List[List[int]], List[float]]:
    """The best path of every lattice: output labels and score.

    Args:
        lattice: an FsaVec with axes [lattice][state][arc], ``aux_labels`` plain or ragged.

    Returns:
        Per lattice the labels above 0 in order, and the score (natural logarithm, summed in
        float64).
    """
    k2 = require_k2()
    paths = k2.shortest_path(lattice, use_double_scores=True)
    scores = paths.get_tot_scores(use_double_scores=True, log_semiring=False)
    return k2.get_aux_labels(paths), scores.tolist()


def total_scores(lattice: k2.Fsa) -> Tensor:
    """The log of the summed probability of all paths of every lattice: (N,), float64.

    For a lattice of one transcript's CTC graph within unlimited beams this is minus the CTC
    loss (Graves et al. 2006).
    """
    return lattice.get_tot_scores(use_double_scores=True, log_semiring=True)
