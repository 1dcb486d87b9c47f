"""The search that loses no utterance: wider beams without a path, smaller pieces without room."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

from espnet_plugin.decode.lattice import Beams, Lattices, intersect, merge_lattices
from espnet_plugin.decode.limits import beyond_int32, lack_of_memory
from espnet_plugin.decode.scales import Scales

if TYPE_CHECKING:
    import k2

logger = logging.getLogger(__name__)

NARROWINGS = 4
"""How often the beams of a single utterance that finds no room are halved."""


class _Piece(NamedTuple):
    rows: List[int]
    beams: Beams
    widened: int = 0
    narrowed: int = 0


def find_lattices(
    graph: k2.Fsa,
    log_probs: Tensor,
    lengths: Tensor,
    beams: Optional[Beams] = None,
    retries: int = 3,
    names: Optional[Sequence[str]] = None,
    scales: Optional[Scales] = None,
) -> Lattices:
    """Search a batch.

    What finds no path is searched again with wider beams. A batch that finds too little memory,
    or goes beyond k2's 32-bit indices, is searched in halves; a single utterance with narrower
    beams. The log names each.

    Args:
        graph: an arc-sorted decoding graph shared by the batch, on the device of ``log_probs``.
        log_probs: (B, T, V) log posteriors.
        lengths: (B,) numbers of valid frames, integers.
        beams: what the search keeps; k2's and icefall's defaults if None.
        retries: how often the beams are widened for utterances without a path.
        names: (B) names of the utterances, for the log.
        scales: the weights of posteriors, n-gram model and lexicon; 1 each if None.

    Returns:
        The lattices. An utterance with no frames, with a posterior that is not a number,
        without a path in the widest beams or without room in the narrowest has none; the log
        and, no frames excepted, ``failed`` say so.
    """
    beams = beams or Beams()
    names = names if names is not None else [f"utterance {i}" for i in range(len(lengths))]
    frames = lengths.tolist()
    failed: Dict[int, str] = {}
    strange = torch.isnan(log_probs.amax(2)).any(1).tolist()  # perhaps in the padding alone
    for i, count in enumerate(frames):
        if count and strange[i] and bool(torch.isnan(log_probs[i, :count]).any()):
            failed[i] = "a posterior is not a number"
            logger.warning("%s: %s; its hypothesis is empty", names[i], failed[i])
    rows = [i for i, count in enumerate(frames) if count and i not in failed]
    waiting = [_Piece(rows, beams)] if rows else []
    parts: List[Lattices] = []
    while waiting:
        piece = waiting.pop(0)
        reason = None
        if log_probs.device.type != "cpu":  # there k2 does not search
            sizes = [frames[i] for i in piece.rows]
            reason = beyond_int32(graph, sizes, log_probs.size(2), piece.beams)
        if reason is None:
            try:
                found = intersect(
                    graph, log_probs[piece.rows], lengths[piece.rows], piece.beams,
                    scales or Scales(),
                )  # fmt: skip
            except (RuntimeError, MemoryError) as error:
                if not lack_of_memory(error):
                    raise
                reason = "too little memory"
        if reason is not None:
            waiting += _smaller(piece, reason, names, failed)
            continue
        parts.append(Lattices(found.fsa, [piece.rows[i] for i in found.utterances]))
        waiting += _wider(piece, parts[-1], retries, names, failed)
    merged = merge_lattices(parts)
    return Lattices(merged.fsa, merged.utterances, failed)


def _smaller(
    piece: _Piece, reason: str, names: Sequence[str], failed: Dict[int, str]
) -> List[_Piece]:
    rows, beams = piece.rows, piece.beams
    if len(rows) > 1:
        half = len(rows) // 2
        said = f"{names[rows[0]]} and {len(rows) - 1} more"
        logger.warning("%s: %s; searching in two halves", said, reason)
        return [piece._replace(rows=rows[:half]), piece._replace(rows=rows[half:])]
    name = names[rows[0]]
    if piece.narrowed == NARROWINGS:
        failed[rows[0]] = f"{reason}, even with {beams}"
        logger.warning("%s: %s; its hypothesis is empty", name, failed[rows[0]])
        return []
    narrower = beams.narrower()
    logger.warning("%s: %s; searching again with %s", name, reason, narrower)
    return [piece._replace(beams=narrower, narrowed=piece.narrowed + 1)]


def _wider(
    piece: _Piece, found: Lattices, retries: int, names: Sequence[str], failed: Dict[int, str]
) -> List[_Piece]:
    lost = [i for i in piece.rows if i not in set(found.utterances)]
    beams, wider = piece.beams, piece.beams.wider()
    again = piece.widened < retries and not piece.narrowed
    for i in lost:
        if again:
            logger.warning("%s: no path with %s; searching again with %s", names[i], beams, wider)
        else:
            failed[i] = f"no path even with {beams}"
            logger.warning("%s: %s; its hypothesis is empty", names[i], failed[i])
    if not lost or not again:
        return []
    return [_Piece(lost, wider, piece.widened + 1)]
