"""Kaldi data directories, as ESPnet's recipes read them."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterable, List

from espnet_plugin.atomic import PathLike, atomic_open
from espnet_plugin.stacks.batches import DataError


def read_ids(path: PathLike) -> List[str]:
    """The first column of a Kaldi file, in order.

    Raises:
        DataError: if the file is missing or empty, or names an utterance twice.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: not there")
    lines = path.read_text(encoding="utf-8").splitlines()
    ids = [line.split(maxsplit=1)[0] for line in lines if line.strip()]
    if not ids:
        raise DataError(f"{path}: empty")
    if len(set(ids)) < len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})
        raise DataError(f"{path}: {twice[0]} is there twice")
    return ids


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
