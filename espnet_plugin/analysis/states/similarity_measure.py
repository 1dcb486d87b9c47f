"""The measure ``similarity`` of the suite: all pairs of hidden states, and their blocks."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Optional, Sequence, Tuple, Union

import numpy as np
from torch import Tensor

from espnet_plugin.analysis.states.block_similarity import (
    BlockSimilarity,
    PooledSimilarity,
    Similarities,
)
from espnet_plugin.analysis.states.structure import LEAST, block_structure
from espnet_plugin.analysis.suite.measure import STATES, Context, Utterances

SAMPLES = ("frames", "utterances")
SWEEP = (1, 2, 5, 10, 20, 50)

_DORSZEWSKI = "Dorszewski et al., ICASSP 2025, arXiv 2409.16302"
SOURCES: Dict[str, Dict[str, str]] = {
    "cosine": {"mark": "P", "unit": "1", "source": f"{_DORSZEWSKI}; samples: see `samples` [I]"},
    "linear_cka": {
        "mark": "P",
        "unit": "1",
        "source": "unbiased minibatch HSIC: Nguyen, Raghu, Kornblith, ICLR 2021, arXiv 2010.15327",
    },
    "linear_cka_biased": {"mark": "P", "unit": "1", "source": _DORSZEWSKI},
    "mutual_knn": {"mark": "P", "unit": "1", "source": f"{_DORSZEWSKI}; by inner product"},
    "structure": {
        "mark": "I",
        "unit": "",
        "source": "kernel change-point detection (Harchaoui, Cappé 2007) against matrices of the "
        "same decay and drift",
    },
}


def make(context: Context) -> StateSimilarity:
    """The measure of a model.

    Raises:
        ValueError: options that make no sense.
    """
    options = context.options
    return StateSimilarity(
        options.get("similarity_samples", "frames"),
        options.get("neighbours", 10),
        options.get("neighbour_sweep", SWEEP),
        options.get("similarity_utterances", 1000),
    )


class StateSimilarity:
    """:class:`BlockSimilarity` or :class:`PooledSimilarity` in the suite.

    Args:
        samples: "frames", or "utterances" (the mean over the frames of each).
        neighbours: k of mutual k-NN.
        sweep: further k.
        most: utterances that are kept, where they are the samples.

    Raises:
        ValueError: unknown samples, or numbers out of their range.
    """

    name = "similarity"
    wants: FrozenSet[str] = frozenset({STATES})

    def __init__(
        self,
        samples: str = "frames",
        neighbours: int = 10,
        sweep: Sequence[int] = SWEEP,
        most: int = 1000,
    ) -> None:
        if neighbours < 1:
            raise ValueError(f"neighbours must be 1 or above, not {neighbours}")
        if samples not in SAMPLES:
            raise ValueError(f"samples must be one of {', '.join(SAMPLES)}, not {samples!r}")
        self.samples = samples
        self.sums: Union[BlockSimilarity, PooledSimilarity] = BlockSimilarity(neighbours, sweep)
        if samples == "utterances":
            self.sums = PooledSimilarity(neighbours, sweep, most)
        self._names: List[str] = []

    def begin(self, utterances: Utterances) -> None:
        """See :class:`espnet_plugin.analysis.suite.measure.Measure`."""
        self._names = list(utterances.names)

    def look(self, block: int, maps: Tensor, lengths: Tensor) -> None:
        """Nothing to do."""

    def end(self, states: Sequence[Tensor], lengths: Tensor) -> None:
        """Compare the states of the batch."""
        self.sums.update(self._names, states, lengths)

    def merge(self, other: StateSimilarity) -> None:
        """Add what another has compared."""
        self.sums.merge(other.sums)  # type: ignore[arg-type]

    def state_dict(self) -> Dict[str, Any]:
        """The sums, or the means that are kept."""
        return self.sums.state_dict()

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace them by those of :meth:`state_dict`."""
        self.sums.load_state_dict(state)

    def result(self) -> Dict[str, Any]:
        """See docs/similarity.md."""
        found = self.sums.measured()
        structure, why = _structure(found)
        return {
            "sources": SOURCES,
            "samples": self.samples,
            "neighbours": self.sums.neighbours,
            "utterances": len(self.sums.utterances),
            "frames": self.sums.frames,
            "short": len(self.sums.short),
            "states": len(found.values["cosine"]),
            "values": {name: _plain(matrix) for name, matrix in found.values.items()},
            "sweep": {str(k): _plain(matrix) for k, matrix in found.sweep.items()},
            "reasons": found.reasons,
            "structure": structure,
            "structure_reasons": why,
        }

    def arrays(self) -> Dict[str, np.ndarray]:
        """Each measure (S, S); ``mutual_knn_sweep`` (K, S, S) of ``sweep`` (K,). NaN: no value."""
        found = self.sums.measured()
        matrices = {name: matrix.numpy() for name, matrix in found.values.items()}
        matrices["sweep"] = np.array(list(found.sweep), dtype=np.int64)
        matrices["mutual_knn_sweep"] = np.stack([m.numpy() for m in found.sweep.values()])
        return matrices

    def tables(self) -> Dict[str, List[List[Any]]]:
        """A row for each pair of states."""
        values = {name: _plain(matrix) for name, matrix in self.sums.measured().values.items()}
        rows: List[List[Any]] = [["state", "other", *values]]
        count = len(values["cosine"])
        for i in range(count):
            rows += [[i, j, *(m[i][j] for m in values.values())] for j in range(i + 1, count)]
        return {"": rows}


def _structure(found: Similarities) -> Tuple[Dict[str, Any], Dict[str, str]]:
    """The blocks by each measure that a structure is looked for in, or why there are none."""
    structures: Dict[str, Any] = {}
    reasons: Dict[str, str] = {}
    for name in ("linear_cka", "cosine"):
        structures[name] = None
        matrix = found.values[name]
        if name in found.reasons:
            reasons[name] = "the matrix is not complete"
        elif len(matrix) < LEAST:
            reasons[name] = f"{len(matrix)} states are too few to tell blocks from decay"
        else:
            structures[name] = block_structure(matrix).to_dict()
    return structures, reasons


def _plain(matrix: Tensor) -> List[List[Optional[float]]]:
    return [[None if value != value else value for value in row] for row in matrix.tolist()]
