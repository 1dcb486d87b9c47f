"""TextGrids as lhotse word and phone alignments."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Union

from espnet_plugin.data.phones import fold_phone
from espnet_plugin.data.textgrid import Interval, Tiers, read_textgrid

UNKNOWN_WORD = "<unk>"


def textgrid_path(alignments_dir: Union[str, Path], part: str, utterance: str) -> Path:
    """``<alignments_dir>/<part>/<speaker>/<chapter>/<utterance>.TextGrid``."""
    speaker, chapter, _ = utterance.split("-")
    return Path(alignments_dir) / part / speaker / chapter / f"{utterance}.TextGrid"


def align_words(intervals: List[Interval], text: str) -> List[Interval]:
    """The words of ``text`` with the times of a words tier.

    LibriSpeech's alignments write ``<unk>`` for a word that their lexicon lacked, which takes
    the transcript's word here, and split some words in two (``cosette`` ``s``), which are
    joined.

    Raises:
        ValueError: the tier has other words than ``text``.
    """
    spoken = [interval for interval in intervals if interval.text]
    aligned: List[Interval] = []
    position = 0
    for word in text.split():
        wanted = _letters(word)
        start, pieces = position, ""
        while position < len(spoken) and pieces != wanted and wanted.startswith(pieces):
            piece = spoken[position].text
            pieces += wanted if piece == UNKNOWN_WORD and not pieces else _letters(piece)
            position += 1
        if pieces != wanted:
            found = spoken[start].text if start < len(spoken) else "nothing"
            raise ValueError(f"the words tier has {found!r} where the transcript has {word!r}")
        aligned.append(Interval(spoken[start].start, spoken[position - 1].end, word))
    if position < len(spoken):
        raise ValueError(f"the words tier has {spoken[position].text!r} after the transcript's end")
    return aligned


def _letters(word: str) -> str:
    """What the tier and the transcript must have in common: they differ in apostrophes."""
    return word.upper().replace("'", "")


def phone_intervals(intervals: List[Interval]) -> List[Interval]:
    """A phones tier with every kind of silence as ``SIL`` and unknown words as ``SPN``.

    Vowels keep their stress digit; see :func:`espnet_plugin.data.phones.fold_phone`.

    Raises:
        ValueError: a label that is no ARPAbet phone.
    """
    labelled = []
    for interval in intervals:
        folded = fold_phone(interval.text)
        keep = folded in ("SIL", "SPN")
        labelled.append(interval._replace(text=folded if keep else interval.text.upper()))
    return labelled


def lhotse_alignment(tiers: Tiers, text: str) -> Dict[str, List[Any]]:
    """``{"word": [...], "phone": [...]}`` of lhotse ``AlignmentItem`` for a supervision.

    Words are the transcript's, silences between them have no item; phones cover the utterance.

    Raises:
        ValueError: a tier is missing, or its words or phones do not fit.
    """
    for tier in ("words", "phones"):
        if tier not in tiers:
            raise ValueError(f"no tier {tier!r}")
    return {
        "word": _items(align_words(tiers["words"], text)),
        "phone": _items(phone_intervals(tiers["phones"])),
    }


def _items(intervals: List[Interval]) -> List[Any]:
    from lhotse.supervision import AlignmentItem

    return [
        AlignmentItem(symbol=item.text, start=item.start, duration=round(item.end - item.start, 8))
        for item in intervals
        if item.end > item.start
    ]


def load_alignment(
    alignments_dir: Union[str, Path], part: str, utterance: str, text: str
) -> Dict[str, List[Any]]:
    """The lhotse alignment of an utterance from its TextGrid, see :func:`lhotse_alignment`.

    Raises:
        FileNotFoundError: there is no TextGrid for it.
        ValueError: it is no TextGrid, or does not fit the text.
    """
    path = textgrid_path(alignments_dir, part, utterance)
    return lhotse_alignment(read_textgrid(path), text)
