"""Word lists from what there is: a list, Kaldi's text, counts, an ARPA file."""

from __future__ import annotations

import gzip
from collections import Counter
from typing import IO, Dict, Iterable, List

from espnet_plugin.atomic import PathLike
from espnet_plugin.decode.lang.langdir import RESERVED

_NOT_WORDS = {*RESERVED, "<unk>", "<UNK>", "<blank>", "<sos/eos>"}
FORMATS = ("list", "text", "counts", "arpa")


def read_word_list(path: PathLike, form: str) -> List[str]:
    """The distinct words of a file, in the order of their first occurrence.

    Args:
        path: the file, UTF-8; an ARPA file may be compressed with gzip.
        form: ``list`` (a word a line), ``text`` (Kaldi: an utterance id, then words),
            ``counts`` (a word and its count a line), ``arpa`` (the 1-grams of an n-gram model).

    Raises:
        ValueError: an unknown form, a line that is not of this form, no word at all.
    """
    if form not in FORMATS:
        raise ValueError(f"the form of a word list is one of {', '.join(FORMATS)}, not {form!r}")
    if form == "text":
        found: Iterable[str] = count_words([path])
    else:
        with _open(path) as stream:
            found = list(_unigrams(stream, path) if form == "arpa" else _column(stream, path, form))
    words = [word for word in dict.fromkeys(found) if word not in _NOT_WORDS]
    if not words:
        raise ValueError(f"{path}: no word in it")
    return words


def count_words(paths: Iterable[PathLike]) -> Dict[str, int]:
    """How often each word is in Kaldi ``text`` files, in the order of first occurrence."""
    counts: Counter[str] = Counter()
    for path in paths:
        with open(path, encoding="utf-8") as stream:
            for line in stream:
                counts.update(line.split()[1:])
    return dict(counts)


def _column(stream: IO[str], path: PathLike, form: str) -> Iterable[str]:
    width = 2 if form == "counts" else 1
    for number, line in enumerate(stream, 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != width or (width == 2 and not fields[1].isdigit()):
            expected = "a word and its count" if width == 2 else "one word"
            raise ValueError(f"{path}:{number}: expected {expected}: {line.strip()!r}")
        yield fields[0]


def _unigrams(stream: IO[str], path: PathLike) -> Iterable[str]:
    inside = False
    for line in stream:
        if line.startswith("\\"):
            if inside:
                return
            inside = line.strip() == "\\1-grams:"
        elif inside and line.strip():
            yield line.split()[1]
    raise ValueError(f"{path}: no ARPA file: its 1-grams do not come to an end")


def _open(path: PathLike) -> IO[str]:
    if str(path).endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8")
    return open(path, encoding="utf-8")
