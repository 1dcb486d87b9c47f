"""Frame-synchronous Viterbi beam search on the CPU, with lattices as k2's search defines them.

``k2.intersect_dense_pruned`` is made for a GPU: every frame is a dozen operations on ragged
arrays, whose fixed cost outweighs the work on a CPU. Here each utterance is one compiled loop over
frames, states and arcs (:mod:`espnet_plugin.decode.beam_kernel`), and threads take one
utterance each.

**What is followed.** In each frame the arcs of all live states are candidates; the score of an
arc's end is that of the best path up to it. States with an end within the beam of the frame's best
live on. The beam is ``search_beam``, and adapts as in k2: it widens by a quarter in each frame that
begins with fewer than ``min_active_states``, narrows to four fifths after one in which more than
``max_active_states`` were within it, and returns to ``search_beam`` otherwise. No more than the
``max_active_states`` best live on, where k2 only narrows the beam. The lattice is made of all arcs
between live states whose best complete path is within ``output_beam`` of the best one. Unless
``max_active_states`` interferes it is k2's, arc for arc. Scores of paths are summed in float64.

**How.** Forwards only the live states are recorded. Backwards, when the best way from each state to
the end is known, the arcs of the lattice are found among the few that are good enough together with
it. In both directions labels and states that are too bad even with the frame's best partner and
the graph's highest score are left out before their arcs are looked at, which changes nothing in the
result.
"""

from __future__ import annotations

import logging
import resource
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, List, Optional, Tuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from espnet_plugin.compat import require_k2
from espnet_plugin.decode.beam_kernel import search
from espnet_plugin.decode.limits import INT32, available_memory

if TYPE_CHECKING:
    import k2

    from espnet_plugin.decode.lattice import Beams

BYTES_PER_ARC = 150
"""What an arc of a lattice may cost until the lattices are made."""

Found = Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass
class SearchGraph:
    """A graph as :func:`espnet_plugin.decode.beam_kernel.search` reads it; memory is shared.

    Attributes:
        row_splits: (S + 1) int32, arcs by state.
        arcs, weights: (A, 4) int32 and float32, the same memory.
        heaviest: the highest score of an arc.
        largest: the largest label.
        scores: the tensor of the scores at the time.
        version: its version then.
        sorted: the graph arc-sorted, if it was not.
        free: arrays with −1 for each state that no search is using.
    """

    row_splits: np.ndarray
    arcs: np.ndarray
    weights: np.ndarray
    heaviest: float
    largest: int
    scores: Tensor
    version: int
    sorted: Optional[k2.Fsa]
    free: List[np.ndarray] = field(default_factory=list)

    @classmethod
    def of(cls, fsa: k2.Fsa) -> SearchGraph:
        """Look through a graph, or take what was found when it was looked through before.

        Raises:
            ValueError: it is more than one graph.
        """
        known = _known.get(fsa)
        scores = fsa.scores
        if known is not None and known.scores is scores and known.version == scores._version:
            return known
        axes = fsa.arcs.num_axes()
        if axes == 3 and fsa.shape[0] != 1:
            raise ValueError(f"a search takes one graph, not {fsa.shape[0]}")
        ordered = None if _is_sorted(fsa, axes) else require_k2().arc_sort(fsa)
        graph = fsa if ordered is None else ordered
        arcs = graph.arcs.values().numpy()
        row_splits = graph.arcs.row_splits(axes - 1).numpy()
        weights = arcs.view(np.float32)
        heaviest = float(weights[:, 3].max()) if len(arcs) else 0.0
        largest = int(arcs[:, 2].max()) if len(arcs) else -1
        made = cls(row_splits, arcs, weights, heaviest, largest, scores, scores._version, ordered)
        _known[fsa] = made
        return made

    def search(
        self, log_probs: np.ndarray, tops: np.ndarray, acoustic: float, beams: Beams, max_arcs: int
    ) -> Optional[Found]:
        """The lattice of an utterance; None if it would need more than ``max_arcs`` arcs."""
        try:
            slots = self.free.pop()
        except IndexError:
            slots = np.full(len(self.row_splits) - 1, -1, dtype=np.int32)
        enough, *found = search(
            self.row_splits, self.arcs, self.weights, self.heaviest, log_probs, tops,
            np.float32(acoustic), float(beams.search_beam), float(beams.output_beam),
            beams.min_active_states, beams.max_active_states, slots, max_arcs,
        )  # fmt: skip
        self.free.append(slots)
        return tuple(found) if enough else None


def _is_sorted(fsa: k2.Fsa, axes: int) -> bool:
    labels = fsa.labels.numpy().astype(np.uint32)  # −1 becomes the last
    falling = np.flatnonzero(labels[1:] < labels[:-1]) + 1
    return bool(np.isin(falling, fsa.arcs.row_splits(axes - 1).numpy()).all())


_known: WeakKeyDictionary[Any, SearchGraph] = WeakKeyDictionary()


def cpu_search(
    graph: k2.Fsa,
    log_probs: Tensor,
    lengths: Tensor,
    beams: Beams,
    acoustic: float = 1.0,
    max_arcs: Optional[int] = None,
) -> Tuple[Optional[k2.Fsa], List[int]]:
    """Search a batch.

    Args:
        graph: a decoding graph on the CPU, with the scores that the search needs.
        log_probs: (B, T, V) log posteriors.
        lengths: (B,) numbers of valid frames.
        beams: what the search keeps; see the module.
        acoustic: the weight of the posteriors.
        max_arcs: how many arcs an utterance may need; by default what the free memory allows.

    Returns:
        An FsaVec and, for each lattice, its place in the batch; None if no utterance has a
        path. The arcs have the graph's attributes, ``am_scores`` (float32, unscaled) and
        ``frame`` (int32, −1 to the final state); ``scores`` are 0.

    Raises:
        MemoryError: an utterance needs more arcs, or the batch more than k2 can number.
        ValueError: several graphs, or a graph with labels from V on.
    """
    tables = SearchGraph.of(graph)
    if tables.largest >= log_probs.size(2):
        raise ValueError(
            f"the graph has the label {tables.largest}, but there are {log_probs.size(2)} outputs"
        )
    graph = graph if tables.sorted is None else tables.sorted
    sizes = lengths.tolist()
    rows = [i for i, frames in enumerate(sizes) if frames > 0]
    threads = max(1, min(len(rows), torch.get_num_threads()))
    limit = max_arcs if max_arcs is not None else _arcs_in_memory(threads)
    log_probs = log_probs.detach().float().contiguous()
    values, tops = log_probs.numpy(), log_probs.amax(-1).numpy()

    def one(row: int) -> Optional[Found]:
        frames = sizes[row]
        return tables.search(values[row, :frames], tops[row, :frames], acoustic, beams, limit)

    if threads == 1:
        found = [one(row) for row in rows]
    else:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(one, rows))
    complete = [item for item in found if item is not None]
    if len(complete) < len(found):
        raise MemoryError(f"the search needs more than {limit} arcs")
    if sum(len(item[0]) for item in complete) > INT32:
        raise MemoryError("the lattices have more arcs than k2 can number")
    pairs = [(row, item) for row, item in zip(rows, complete, strict=True) if len(item[0])]
    if not pairs:
        return None, []
    return _fsa_vec(graph, [item for _, item in pairs]), [row for row, _ in pairs]


def warm_up() -> None:
    """Compile the search, or load what was compiled before, so that no first search waits.

    Compiled code is kept beside the source, or in the user's cache where that is read-only
    (numba's ``NUMBA_CACHE_DIR`` names another place).
    """
    logging.info("loading the search; before its first use on a machine it is compiled (10 s)")
    row_splits = np.array([0, 1, 1], dtype=np.int32)
    arcs = np.array([[0, 1, -1, 0]], dtype=np.int32)
    frame = np.zeros((1, 1), dtype=np.float32)
    search(
        row_splits, arcs, arcs.view(np.float32), 0.0, frame, frame[0], np.float32(1.0), 1.0, 1.0,
        0, 1, np.full(2, -1, dtype=np.int32), INT32,
    )  # fmt: skip


def _fsa_vec(graph: k2.Fsa, found: List[Found]) -> k2.Fsa:
    k2 = require_k2()
    from _k2 import RaggedArc

    arcs, splits, graph_arcs, frames, values = (
        np.concatenate(part) for part in zip(*found, strict=True)
    )
    states = np.array([len(item[1]) - 1 for item in found])
    sizes = np.array([len(item[0]) for item in found])
    offsets = np.repeat(np.cumsum(sizes) - sizes, states + 1)
    ends = np.cumsum(states + 1) - 1  # where the last split of each lattice stands
    row_splits = np.append(np.delete(splits + offsets, ends), len(arcs)).astype(np.int32)
    by_lattice = np.concatenate([[0], np.cumsum(states)]).astype(np.int32)
    ragged = k2.ragged.create_ragged_shape2
    shape = ragged(row_splits=torch.from_numpy(by_lattice), cached_tot_size=len(row_splits) - 1)
    shape = shape.compose(
        ragged(row_splits=torch.from_numpy(row_splits), cached_tot_size=len(arcs))
    )
    fsa = k2.Fsa(RaggedArc(shape, torch.from_numpy(arcs)))
    arc_map = torch.from_numpy(graph_arcs)
    for name, value in graph.named_tensor_attr(include_scores=False):
        if name == "labels":
            continue
        if isinstance(value, Tensor):
            setattr(fsa, name, value[arc_map.long()])
        else:
            setattr(fsa, name, value.index(arc_map, axis=0, need_value_indexes=False)[0])
    for name, value in graph.named_non_tensor_attr():
        setattr(fsa, name, value)
    fsa.frame = torch.from_numpy(frames)
    fsa.am_scores = torch.from_numpy(values)
    return fsa


def _arcs_in_memory(threads: int) -> int:
    free = available_memory()
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        with open("/proc/self/statm") as stream:
            used = int(stream.read().split()[0]) * resource.getpagesize()
        free = min(free or limit, max(0, limit - used))
    return min(INT32, free // (2 * threads * BYTES_PER_ARC)) if free else INT32
