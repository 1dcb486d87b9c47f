"""Lattices of a batch: posteriors intersected with a decoding graph, within beams."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from espnet_plugin.compat import require_k2

if TYPE_CHECKING:
    import k2

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Lattices:
    """The lattices of those utterances of a batch that have a path.

    Attributes:
        fsa: an FsaVec with axes [lattice][state][arc]; None if no utterance has a path.
        utterances: ``utterances[i]`` is the place in the batch of lattice ``i``.
    """

    fsa: Optional[k2.Fsa]
    utterances: List[int]


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


def find_lattices(
    graph: k2.Fsa,
    log_probs: Tensor,
    lengths: Tensor,
    beams: Optional[Beams] = None,
    retries: int = 3,
    names: Optional[Sequence[str]] = None,
) -> Lattices:
    """Search a batch; what finds no path is searched again with wider beams.

    Args:
        graph: an arc-sorted decoding graph shared by the batch, on the device of ``log_probs``.
        log_probs: (B, T, V) log posteriors.
        lengths: (B,) numbers of valid frames, integers.
        beams: what the search keeps; k2's and icefall's defaults if None.
        retries: how often the beams are widened for utterances without a path.
        names: (B) names of the utterances, for the log.

    Returns:
        The lattices. An utterance with no frames, with a posterior that is not a number, or
        without a path in the widest beams has none; the log says so.
    """
    k2 = require_k2()
    beams = beams or Beams()
    names = names if names is not None else [f"utterance {i}" for i in range(len(lengths))]
    lengths = lengths.to("cpu", torch.int64).clone()
    for i, frames in enumerate(lengths.tolist()):
        if frames and bool(torch.isnan(log_probs[i, :frames]).any()):
            logger.warning("%s: a posterior is not a number; its hypothesis is empty", names[i])
            lengths[i] = 0
    if not bool((lengths > 0).any()):
        return Lattices(None, [])
    dense, order = dense_fsa_vec(log_probs, lengths)
    fsa = k2.intersect_dense_pruned(
        graph,
        dense,
        search_beam=beams.search_beam,
        output_beam=beams.output_beam,
        min_active_states=beams.min_active_states,
        max_active_states=beams.max_active_states,
    )
    scores = fsa.get_tot_scores(use_double_scores=True, log_semiring=False)
    found = torch.isfinite(scores).tolist()
    lost = [order[row] for row, ok in enumerate(found) if not ok]
    if not lost:
        return Lattices(fsa, order)
    kept = [row for row, ok in enumerate(found) if ok]
    first = Lattices(_select(fsa, kept), [order[row] for row in kept])
    if retries == 0:
        for i in lost:
            logger.warning("%s: no path even with %s; its hypothesis is empty", names[i], beams)
        return first
    wider = beams.wider()
    for i in lost:
        logger.warning("%s: no path with %s; searching again with %s", names[i], beams, wider)
    again = find_lattices(
        graph, log_probs[lost], lengths[lost], wider, retries - 1, [names[i] for i in lost]
    )
    return _merge(first, Lattices(again.fsa, [lost[i] for i in again.utterances]))


def _select(fsa: k2.Fsa, rows: List[int]) -> Optional[k2.Fsa]:
    if not rows:
        return None
    return require_k2().index_fsa(fsa, torch.tensor(rows, dtype=torch.int32, device=fsa.device))


def _merge(one: Lattices, two: Lattices) -> Lattices:
    if one.fsa is None or two.fsa is None:
        return one if two.fsa is None else two
    return Lattices(require_k2().cat([one.fsa, two.fsa]), one.utterances + two.utterances)
