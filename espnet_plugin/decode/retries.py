"""The search that loses no utterance: wider beams without a path, smaller pieces without room."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, List, Optional, Sequence

import torch
from torch import Tensor

from espnet_plugin.decode.lattice import Beams, Lattices, intersect, merge_lattices
from espnet_plugin.decode.scales import Scales

if TYPE_CHECKING:
    import k2

logger = logging.getLogger(__name__)


def find_lattices(
    graph: k2.Fsa,
    log_probs: Tensor,
    lengths: Tensor,
    beams: Optional[Beams] = None,
    retries: int = 3,
    names: Optional[Sequence[str]] = None,
    scales: Optional[Scales] = None,
) -> Lattices:
    """Search a batch; what finds no path is searched again with wider beams.

    Args:
        graph: an arc-sorted decoding graph shared by the batch, on the device of ``log_probs``.
        log_probs: (B, T, V) log posteriors.
        lengths: (B,) numbers of valid frames, integers.
        beams: what the search keeps; k2's and icefall's defaults if None.
        retries: how often the beams are widened for utterances without a path.
        names: (B) names of the utterances, for the log.
        scales: the weights of posteriors, n-gram model and lexicon; 1 each if None.

    Returns:
        The lattices. An utterance with no frames, with a posterior that is not a number, or
        without a path in the widest beams has none; the log says so.
    """
    beams = beams or Beams()
    names = names if names is not None else [f"utterance {i}" for i in range(len(lengths))]
    lengths = lengths.to("cpu", torch.int64).clone()
    for i, frames in enumerate(lengths.tolist()):
        if frames and bool(torch.isnan(log_probs[i, :frames]).any()):
            logger.warning("%s: a posterior is not a number; its hypothesis is empty", names[i])
            lengths[i] = 0
    parts: List[Lattices] = []
    lost = torch.nonzero(lengths > 0).flatten().tolist()
    for trial in range(retries + 1):
        if not lost:
            break
        found = intersect(graph, log_probs[lost], lengths[lost], beams, scales or Scales())
        parts.append(Lattices(found.fsa, [lost[i] for i in found.utterances]))
        lost = [i for row, i in enumerate(lost) if row not in set(found.utterances)]
        wider = beams.wider()
        for i in lost:
            if trial < retries:
                logger.warning(
                    "%s: no path with %s; searching again with %s", names[i], beams, wider
                )
            else:
                logger.warning("%s: no path even with %s; its hypothesis is empty", names[i], beams)
        beams = wider
    return merge_lattices(parts)
