"""Which utterances must be decoded in smaller pieces, after batches that found no room."""

from __future__ import annotations

import logging
from typing import Any, Dict, Iterable, List, NamedTuple, Tuple

from espnet_plugin.decode.retries import NARROWINGS

logger = logging.getLogger(__name__)


class Piece(NamedTuple):
    """Utterances to decode as one batch, with beams that are halved ``narrowed`` times."""

    names: Tuple[str, ...]
    narrowed: int = 0


class Pieces:
    """What is waiting to be decoded in smaller pieces.

    A batch that died is decoded in halves; a single utterance with narrower beams, and when
    these are the narrowest, it has failed.

    Args:
        entries: of the job's journal, in order.
    """

    def __init__(self, entries: Iterable[Dict[str, Any]]) -> None:
        self.waiting: List[Piece] = []
        for entry in entries:
            if "died" in entry:
                self.died(Piece(tuple(entry["died"]), entry["narrowed"]), entry["cause"])
            else:
                self.done(entry["results"])

    def done(self, names: Iterable[str]) -> None:
        """These have results."""
        known = set(names)
        self.waiting = [piece for piece in self.waiting if not known.issuperset(piece.names)]

    def died(self, piece: Piece, cause: str) -> None:
        """This found no room; what replaces it goes to the front of ``waiting``."""
        self.waiting = [other for other in self.waiting if other != piece]
        names, half = piece.names, len(piece.names) // 2
        if half:
            logger.warning(
                "%s and %d more: %s; decoding in two halves", names[0], len(names) - 1, cause
            )
            smaller = [Piece(names[:half], piece.narrowed), Piece(names[half:], piece.narrowed)]
        else:
            logger.warning("%s: %s; decoding with narrower beams", names[0], cause)
            smaller = [Piece(names, piece.narrowed + 1)]
        self.waiting = smaller + self.waiting

    @property
    def names(self) -> set[str]:
        """All utterances that wait."""
        return {name for piece in self.waiting for name in piece.names}


def hopeless(piece: Piece) -> bool:
    """Whether the narrowest beams found no room."""
    return piece.narrowed > NARROWINGS
