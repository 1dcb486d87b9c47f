"""Word lists from what there is: a list, Kaldi's text, counts, an ARPA file."""

from __future__ import annotations

from collections import Counter
from typing import Dict, Iterable, List

from espnet_plugin.atomic import PathLike
from espnet_plugin.decode.lang.langdir import RESERVED
from espnet_plugin.lm.text import read_fields

_NOT_WORDS = {*RESERVED, "<unk>", "<UNK>", "<blank>", "<sos/eos>"}
FORMATS = ("list", "text", "counts", "arpa")


def read_word_list(path: PathLike, form: str) -> List[str]:
    """The distinct words of a file, in the order of their first occurrence.

    Args:
        path: the file, UTF-8, plain or gzip.
        form: ``list`` (a word a line), ``text`` (Kaldi: an utterance id, then words),
            ``counts`` (a word and its count a line), ``arpa`` (the 1-grams of an n-gram model).

    Raises:
        ValueError: an unknown form, a line that is not of this form, no word at all, damaged
            text or gzip.
    """
    if form not in FORMATS:
        raise ValueError(f"the form of a word list is one of {', '.join(FORMATS)}, not {form!r}")
    if form == "text":
        found: Iterable[str] = count_words([path])
    else:
        found = _unigrams(path) if form == "arpa" else _column(path, form)
    words = [word for word in dict.fromkeys(found) if word not in _NOT_WORDS]
    if not words:
        raise ValueError(f"{path}: no word in it")
    return words


def count_words(paths: Iterable[PathLike]) -> Dict[str, int]:
    """How often each word is in Kaldi ``text`` files, in the order of first occurrence."""
    counts: Counter[str] = Counter()
    for path in paths:
        for _, fields in read_fields(path):
            counts.update(fields[1:])
    return dict(counts)


def _column(path: PathLike, form: str) -> Iterable[str]:
    width = 2 if form == "counts" else 1
    for number, fields in read_fields(path):
        if len(fields) != width or (width == 2 and not fields[1].isdecimal()):
            expected = "a word and its count" if width == 2 else "one word"
            raise ValueError(f"{path}:{number}: expected {expected}: {' '.join(fields)!r}")
        yield fields[0]


def _unigrams(path: PathLike) -> Iterable[str]:
    inside = False
    for number, fields in read_fields(path):
        if fields[0].startswith("\\") and len(fields) == 1:
            if inside:
                return
            inside = fields[0] == "\\1-grams:"
        elif inside:
            if len(fields) < 2:
                raise ValueError(f"{path}:{number}: expected a probability and a word")
            yield fields[1]
    raise ValueError(f"{path}: no ARPA file: its 1-grams do not come to an end")
