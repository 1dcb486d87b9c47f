"""Lattices of a batch: posteriors intersected with a decoding graph, within beams."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from espnet_plugin.compat import require_k2
from espnet_plugin.decode.scales import Scales, word_counts

if TYPE_CHECKING:
    import k2


@dataclass(frozen=True)
class Beams:
    """What the search keeps. The names and the meaning are k2's and icefall's.

    Attributes:
        search_beam: states worse than a frame's best by more than this are not followed.
        output_beam: arcs whose best path is worse than the best by more than this are cut out
            of the lattice. It does not change the best path.
        min_active_states: about as many states stay alive in a frame at least.
        max_active_states: about as many states stay alive in a frame at most.
    """

    search_beam: float = 20.0
    output_beam: float = 8.0
    min_active_states: int = 30
    max_active_states: int = 10000

    def __post_init__(self) -> None:
        for name in ("search_beam", "output_beam", "max_active_states"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.min_active_states <= self.max_active_states:
            raise ValueError(
                f"min_active_states must lie between 0 and max_active_states="
                f"{self.max_active_states}, not {self.min_active_states}"
            )

    def wider(self) -> Beams:
        """Twice the search beam, four times the states."""
        return replace(
            self,
            search_beam=2 * self.search_beam,
            min_active_states=4 * self.min_active_states,
            max_active_states=4 * self.max_active_states,
        )

    def narrower(self) -> Beams:
        """Half the beams, a quarter of the states."""
        most = max(1, self.max_active_states // 4)
        return Beams(
            self.search_beam / 2, self.output_beam / 2, min(self.min_active_states, most), most
        )


@dataclass(frozen=True)
class Lattices:
    """The lattices of those utterances of a batch that have a path.

    Attributes:
        fsa: an FsaVec with axes [lattice][state][arc]; None if no utterance has a path. Besides
            ``labels`` (frames' tokens) and ``aux_labels`` (the graph's output) its arcs carry,
            each with one value per arc:

            * ``am_scores`` float32, the frame's log posterior of the label as it was given,
              0 on arcs to the final state;
            * ``lm_scores`` and ``lexicon_scores`` float32, the graph's parts, 0 where it has
              none;
            * ``frame`` int32, counted within the utterance, −1 on arcs to the final state;
            * ``tokens`` int32, of graphs in the modified topology only: the token that begins in
              the frame, else 0.

            ``scores`` are their weighted sum, see :mod:`espnet_plugin.decode.scales`. All are
            natural logarithms.
        utterances: ``utterances[i]`` is the place in the batch of lattice ``i``.
        failed: utterances whose search failed, with the reason.
    """

    fsa: Optional[k2.Fsa]
    utterances: List[int]
    failed: Dict[int, str] = field(default_factory=dict)

    def select(self, rows: List[int]) -> Lattices:
        """Some of the lattices."""
        if not rows or self.fsa is None:
            return Lattices(None, [])
        index = torch.tensor(rows, dtype=torch.int32, device=self.fsa.device)
        return Lattices(
            require_k2().index_fsa(self.fsa, index), [self.utterances[row] for row in rows]
        )


def merge_lattices(parts: List[Lattices]) -> Lattices:
    """The lattices of several searches in one batch, one after the other."""
    parts = [part for part in parts if part.fsa is not None]
    if len(parts) < 2:
        return parts[0] if parts else Lattices(None, [])
    fsa = require_k2().cat([part.fsa for part in parts])
    return Lattices(fsa, [i for part in parts for i in part.utterances])


def dense_fsa_vec(log_probs: Tensor, lengths: Tensor) -> Tuple[k2.DenseFsaVec, List[int]]:
    """Posteriors as the input of k2's intersections, the longest utterance first.

    Args:
        log_probs: (B, T, V) log posteriors; k2 takes float32.
        lengths: (B,) numbers of valid frames. Utterances without frames are left out.

    Returns:
        The dense FSAs and, for each of them, its place in the batch. The falling order is what
        ``k2.intersect_dense`` demands; ``k2.intersect_dense_pruned`` takes any.
    """
    k2 = require_k2()
    frames = lengths.tolist()
    order = sorted((i for i, n in enumerate(frames) if n > 0), key=lambda i: (-frames[i], i))
    segments = torch.tensor([[i, 0, frames[i]] for i in order], dtype=torch.int32)
    return k2.DenseFsaVec(log_probs.to(torch.float32), segments), order


def intersect(
    graph: k2.Fsa,
    log_probs: Tensor,
    lengths: Tensor,
    beams: Beams,
    scales: Scales,
    engine: Optional[str] = None,
) -> Lattices:
    """One search of a batch, with the scores of every arc apart.

    Args:
        graph: an arc-sorted decoding graph shared by the batch, on the device of ``log_probs``.
        log_probs: (B, T, V) log posteriors.
        lengths: (B,) numbers of valid frames, at least one of them above 0.
        beams: what the search keeps.
        scales: the weights of posteriors, n-gram model and lexicon in the search.
        engine: "cpu", our search (:mod:`espnet_plugin.decode.cpu_search`), or "k2",
            ``k2.intersect_dense_pruned``; by default ours for tensors on the CPU.

    Returns:
        See :class:`Lattices`; utterances without a path have none.

    Raises:
        MemoryError: our search needs more memory than there is; k2's lack shows as
            :func:`espnet_plugin.decode.limits.lack_of_memory` says.
    """
    if (engine or log_probs.device.type) == "cpu":
        from espnet_plugin.decode.cpu_search import cpu_search

        scaled = scaled_graph(graph, scales)
        fsa, utterances = cpu_search(scaled, log_probs, lengths, beams, scales.acoustic)
        if fsa is None:
            return Lattices(None, [])
        return Lattices(_combined(fsa, scales), utterances)
    return _search_with_k2(graph, log_probs, lengths, beams, scales)


def _search_with_k2(
    graph: k2.Fsa, log_probs: Tensor, lengths: Tensor, beams: Beams, scales: Scales
) -> Lattices:
    k2 = require_k2()
    scaled = log_probs if scales.acoustic == 1.0 else scales.acoustic * log_probs
    dense, order = dense_fsa_vec(scaled, lengths)
    fsa = k2.intersect_dense_pruned(
        scaled_graph(graph, scales),
        dense,
        search_beam=beams.search_beam,
        output_beam=beams.output_beam,
        min_active_states=beams.min_active_states,
        max_active_states=beams.max_active_states,
        frame_idx_name="frame",
    )
    _add_posteriors(fsa, log_probs, order)
    fsa = _combined(fsa, scales)
    totals = fsa.get_tot_scores(use_double_scores=True, log_semiring=False)
    found = torch.isfinite(totals).tolist()
    if all(found):
        return Lattices(fsa, order)
    return Lattices(fsa, order).select([row for row, ok in enumerate(found) if ok])


def scaled_graph(graph: k2.Fsa, scales: Scales) -> k2.Fsa:
    """``graph`` with the scores that a search with ``scales`` needs; its parts are as they were.

    The last one made of each graph is kept, so that the batches of a run share it.
    """
    weights = (scales.hlg, scales.lm, scales.word)
    if weights == (1.0, 1.0, 0.0):
        return graph
    known = _scaled.get(graph)
    if known is None or known[0] != weights:
        scaled = graph.clone()
        lm, lexicon = (getattr(graph, name, 0.0) for name in ("lm_scores", "lexicon_scores"))
        scaled.scores = scales.combine(0.0, lm, lexicon, word_counts(graph))
        known = _scaled[graph] = (weights, scaled)
    return known[1]


_scaled: WeakKeyDictionary[Any, Tuple[Tuple[float, ...], Any]] = WeakKeyDictionary()


def _add_posteriors(fsa: k2.Fsa, log_probs: Tensor, order: List[int]) -> None:
    """Give the arcs of k2's output their ``am_scores``, and final ones the frame −1."""
    shape = fsa.arcs.shape()
    rows = shape.row_ids(1).long()[shape.row_ids(2).long()]
    places = torch.tensor(order, device=fsa.device)[rows]
    final = fsa.labels < 0
    fsa.frame = torch.where(final, torch.full_like(fsa.frame, -1), fsa.frame)
    values = log_probs[places, fsa.frame.clamp(min=0).long(), fsa.labels.clamp(min=0).long()]
    fsa.am_scores = torch.where(final, torch.zeros_like(values), values).float()


def _combined(fsa: k2.Fsa, scales: Scales) -> k2.Fsa:
    """The lattices with all attributes of :class:`Lattices`."""
    for name in ("lm_scores", "lexicon_scores"):
        if not hasattr(fsa, name):
            setattr(fsa, name, torch.zeros_like(fsa.am_scores))
    parts = (fsa.am_scores, fsa.lm_scores, fsa.lexicon_scores)
    fsa.scores = scales.combine(*parts, word_counts(fsa))
    return fsa
