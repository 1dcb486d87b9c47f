"""Posterior probabilities of a lattice's arcs, and word confidences from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, List, Sequence

import numpy as np
from torch import Tensor

from espnet_plugin.compat import require_k2
from espnet_plugin.decode.lattices.alignment import Labels, Word, read_paths

if TYPE_CHECKING:
    import k2


def arc_posteriors(lattice: k2.Fsa, scale: float = 1.0) -> Tensor:
    """The probability of every arc: the share of the lattice's paths that take it.

    Paths are weighed by exp(``scale`` · score); forward-backward in the log semiring (Wessel et
    al. 2001, section III), in float64.

    Args:
        lattice: an FsaVec.
        scale: flattens (below 1) or sharpens the distribution over paths.

    Returns:
        (arcs,) float64.

    Raises:
        ValueError: if ``scale`` is not above 0.
    """
    if not scale > 0:
        raise ValueError(f"the posterior scale must be above 0, not {scale}")
    scaled = lattice.clone()
    scaled.scores = lattice.scores * scale
    return scaled.get_arc_post(use_double_scores=True, log_semiring=True).exp()


@dataclass(frozen=True)
class Emissions:
    """Where a lattice puts out labels.

    Attributes:
        labels: (N,) output labels above 0.
        frames: (N,) frames in which they are put out.
        posteriors: (N,) probabilities of their arcs.
    """

    labels: np.ndarray
    frames: np.ndarray
    posteriors: np.ndarray

    def mass(self, label: int, low: float, high: float) -> float:
        """The probability that ``label`` is put out between two frames, at most 1."""
        inside = (self.labels == label) & (self.frames >= low) & (self.frames <= high)
        return min(1.0, float(self.posteriors[inside].sum()))


def emissions(lattice: k2.Fsa, scale: float = 1.0) -> List[Emissions]:
    """The emissions of every lattice of an FsaVec; ``aux_labels`` may be plain or ragged."""
    k2 = require_k2()
    shape = lattice.arcs.shape()
    rows = shape.row_ids(1).long()[shape.row_ids(2).long()].cpu().numpy()
    posteriors = arc_posteriors(lattice, scale).cpu().numpy()
    frames = lattice.frame.cpu().numpy()
    aux = lattice.aux_labels
    if isinstance(aux, k2.RaggedTensor):
        arcs, labels = aux.shape.row_ids(1).cpu().numpy(), aux.values.cpu().numpy()
    else:
        arcs, labels = np.arange(len(frames)), aux.cpu().numpy()
    arcs, labels = arcs[labels > 0], labels[labels > 0]
    result = []
    for row in range(lattice.shape[0]):
        own = rows[arcs] == row
        result.append(Emissions(labels[own], frames[arcs[own]], posteriors[arcs[own]]))
    return result


def confidences(words: Sequence[Word], found: Emissions) -> List[float]:
    """The confidence of every word of a path.

    The posterior mass of the same word at the same time (Wessel et al. 2001; Evermann &
    Woodland 2000): of all arcs that put it out between the middles of the gaps to its
    neighbours. A CTC lattice has its words' identity on single arcs, so "at the same time"
    is judged by the frame of that arc. A word of several labels (tokens) has the confidence
    of its least certain one.
    """
    result = []
    for i, word in enumerate(words):
        low = (words[i - 1].last + word.first) / 2 if i > 0 else -np.inf
        high = (word.last + words[i + 1].first) / 2 if i + 1 < len(words) else np.inf
        result.append(min(found.mass(label, low, high) for label in word.labels))
    return result


@dataclass(frozen=True)
class BestPath:
    """The best path of a lattice.

    Attributes:
        words: its words with their frames.
        confidences: of the words.
        frames: the number of its frames.
    """

    words: List[Word]
    confidences: List[float]
    frames: int


def best_words(lattice: k2.Fsa, labels: Labels, scale: float = 1.0) -> List[BestPath]:
    """The best path of every lattice of an FsaVec, with confidences."""
    k2 = require_k2()
    paths = read_paths(k2.shortest_path(lattice, use_double_scores=True))
    result = []
    for path, found in zip(paths, emissions(lattice, scale), strict=True):
        words = labels.align(path)
        result.append(BestPath(words, confidences(words, found), len(path.labels)))
    return result
