"""CTC forced alignment of a batch with k2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence

import torch
from torch import Tensor

from espnet_plugin.compat import require_k2
from espnet_plugin.decode.align.transcript import Transcript, ctc_graph
from espnet_plugin.decode.lattice import dense_fsa_vec

OUTPUT_BEAM = 1.0
"""Of the intersection, which prunes exactly: any width above 0 keeps the best path."""


@dataclass(frozen=True)
class Spike:
    """The frames in which the best path emits one token.

    Attributes:
        arc: place of the token in ``Transcript.arcs``.
        first: its first frame.
        last: its last frame.
        score: mean posterior of the token over these frames, in (0, 1].
    """

    arc: int
    first: int
    last: int
    score: float


@dataclass(frozen=True)
class FramePath:
    """The best path of one utterance.

    Attributes:
        spikes: its tokens in order.
        score: the path's log probability.
    """

    spikes: List[Spike]
    score: float


def align_batch(
    log_probs: Tensor, lengths: Tensor, transcripts: Sequence[Transcript]
) -> List[Optional[FramePath]]:
    """The best path of every utterance through its transcript's CTC graph.

    Args:
        log_probs: (B, T, V) log posteriors, the blank first.
        lengths: (B,) numbers of valid frames, integers.
        transcripts: (B) what was said.

    Returns:
        Per utterance its path; None if there is none: too few frames for the transcript, or a
        posterior that is not a number.
    """
    k2 = require_k2()
    lengths = lengths.to("cpu", torch.int64).clone()
    for i, frames in enumerate(lengths.tolist()):
        if bool(torch.isnan(log_probs[i, :frames]).any()):
            lengths[i] = 0
    result: List[Optional[FramePath]] = [None] * len(transcripts)
    if not bool((lengths > 0).any()):
        return result
    dense, order = dense_fsa_vec(log_probs, lengths)
    graphs = k2.create_fsa_vec([ctc_graph(transcripts[i]) for i in order])
    lattice = k2.intersect_dense(graphs.to(log_probs.device), dense, output_beam=OUTPUT_BEAM)
    paths = k2.shortest_path(lattice, use_double_scores=True)
    shape = paths.arcs.shape().remove_axis(1)
    labels = k2.RaggedTensor(shape, paths.labels.contiguous()).tolist()
    starts = k2.RaggedTensor(shape, paths.aux_labels.contiguous()).tolist()
    scores = paths.get_tot_scores(use_double_scores=True, log_semiring=False).tolist()
    for i, frames, begun, score in zip(order, labels, starts, scores, strict=True):
        if frames:
            posteriors = log_probs[i, : int(lengths[i])].detach().cpu()
            result[i] = FramePath(_spikes(frames[:-1], begun, posteriors), score)
    return result


def _spikes(labels: List[int], begun: List[int], log_probs: Tensor) -> List[Spike]:
    spans: List[List[int]] = []  # arc, first, last
    for frame, label in enumerate(labels):
        if begun[frame] > 0:
            spans.append([begun[frame] - 1, frame, frame])
        elif label > 0:
            spans[-1][2] = frame
    return [
        Spike(arc, first, last, float(log_probs[first : last + 1, labels[first]].exp().mean()))
        for arc, first, last in spans
    ]
