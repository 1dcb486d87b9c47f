"""Kaldi data directories, as ESPnet's recipes read them."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterable, List

from espnet_plugin.atomic import PathLike, atomic_open
from espnet_plugin.stacks.batches import DataError


def read_table(path: PathLike) -> Dict[str, str]:
    """A Kaldi file (``text``, ``wav.scp``, ``utt2spk``): what stands after each utterance id.

    Returns:
        By id, in the file's order; an id alone on its line has an empty string.

    Raises:
        DataError: if the file is missing, empty or not UTF-8, or names an utterance twice.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: not there; {_wanted(path)}")
    table: Dict[str, str] = {}
    try:
        with open(path, encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                name, *rest = line.strip().split(maxsplit=1) or [""]
                if name in table:
                    raise DataError(f"{path}:{number}: {name} is there twice")
                if name:
                    table[name] = rest[0] if rest else ""
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8") from None
    if not table:
        raise DataError(f"{path}: empty; {_wanted(path)}")
    return table


_COLUMNS = {
    "text": "its transcript",
    "wav.scp": "its audio file",
    "utt2spk": "its speaker",
}


def _wanted(path: Path) -> str:
    """What to do about a missing table."""
    what = _COLUMNS.get(path.name, "what belongs to it")
    return f"write a line for each utterance: its id and {what}"


def read_ids(path: PathLike) -> List[str]:
    """The first column of a Kaldi file, in order.

    Raises:
        DataError: as :func:`read_table`.
    """
    return list(read_table(path))


def write_kaldi_dir(directory: Path, cuts: Iterable[Any]) -> None:
    """Write wav.scp, text, utt2spk, spk2utt and utt2dur for lhotse cuts with one supervision.

    All files are sorted by bytes, as Kaldi's tools demand (``LC_ALL=C``); wav.scp holds
    absolute paths.

    Raises:
        ValueError: there are no cuts.
    """
    tables: Dict[str, List[str]] = {"wav.scp": [], "text": [], "utt2spk": [], "utt2dur": []}
    speakers: Dict[str, List[str]] = defaultdict(list)
    for cut in sorted(cuts, key=lambda cut: cut.id.encode()):
        supervision = cut.supervisions[0]
        source = os.path.abspath(cut.recording.sources[0].source)
        tables["wav.scp"].append(f"{cut.id} {source}")
        tables["text"].append(f"{cut.id} {supervision.text}")
        tables["utt2spk"].append(f"{cut.id} {supervision.speaker}")
        tables["utt2dur"].append(f"{cut.id} {cut.duration:.6f}")
        speakers[supervision.speaker].append(cut.id)
    if not speakers:
        raise ValueError(f"{directory.name}: no utterances for this set")
    tables["spk2utt"] = [
        f"{speaker} {' '.join(speakers[speaker])}" for speaker in sorted(speakers, key=str.encode)
    ]
    for name, lines in tables.items():
        with atomic_open(directory / name) as stream:
            stream.write("\n".join(lines) + "\n")
