"""Kaldi's CTM: one line per word with its time."""

from __future__ import annotations

from typing import Iterable, Mapping, Sequence, Tuple

from espnet_plugin.atomic import PathLike, atomic_open

Item = Tuple[str, float, float, float]
"""Symbol, start and duration in seconds, confidence in 0 … 1."""


def ctm_lines(utterance: str, items: Iterable[Item], channel: int = 1) -> Iterable[str]:
    """``utterance channel start duration symbol confidence``, times from the utterance's start."""
    for symbol, start, duration, confidence in items:
        yield f"{utterance} {channel} {start:.3f} {duration:.3f} {symbol} {confidence:.4f}\n"


def write_ctm(path: PathLike, utterances: Mapping[str, Sequence[Item]]) -> None:
    """Write a CTM file as a whole, utterances in the order given."""
    with atomic_open(path) as stream:
        for utterance, items in utterances.items():
            stream.writelines(ctm_lines(utterance, items))
