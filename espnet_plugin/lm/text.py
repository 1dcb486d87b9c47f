"""Read what n-gram models are trained on: texts, vocabularies, word counts."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, Tuple

from espnet_plugin.atomic import PathLike
from espnet_plugin.lm.arpa import open_maybe_gzip
from espnet_plugin.lm.counts import SPECIAL
from espnet_plugin.lm.ngram import BOS, EOS, UNK, NGramError

CASES: Dict[str, Callable[[str], str]] = {"keep": str, "lower": str.lower, "upper": str.upper}
"""What may be done to the letters of a word-count file."""

_NO_WORDS = {"<eps>", *BOS, *EOS, *UNK}


def read_fields(path: PathLike) -> Iterator[Tuple[int, List[str]]]:
    """Line number and fields of every line that is not blank, plain or gzip.

    Raises:
        NGramError: one line with file and line number: not UTF-8, damaged gzip.
        OSError: if the file cannot be read.
    """
    number = 0
    with open_maybe_gzip(path) as stream:
        try:
            for number, line in enumerate(stream, 1):
                if fields := line.decode("utf-8").split():
                    yield number, fields
        except UnicodeDecodeError:
            raise NGramError(f"{path}:{number}: not UTF-8") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise NGramError(f"{path}: damaged gzip file: {error}") from None


def read_sentences(paths: Iterable[PathLike], with_ids: bool = False) -> Iterator[List[str]]:
    """The sentences of text files, one a line.

    Args:
        paths: plain or gzip.
        with_ids: lines begin with an utterance id, which is no word (Kaldi's ``text``).

    Yields:
        The words of each line; lines without words are passed over.

    Raises:
        NGramError: as :func:`read_fields`; a file without any words; a line that holds ``<s>``
            or ``</s>``.
        OSError: if a file cannot be read.
    """
    for path in paths:
        empty = True
        for number, words in read_fields(path):
            if with_ids:
                del words[0]
            if "<s>" in words or "</s>" in words:
                raise NGramError(f"{path}:{number}: take <s> and </s> out, they are put in here")
            if words:
                empty = False
                yield words
        if empty:
            ids = " after the utterance ids" if with_ids else ""
            raise NGramError(f"{path}: no words{ids}")


def read_vocabulary(path: PathLike) -> List[str]:
    """A list of words: one a line, alone or before a number as in a ``words.txt``.

    ``<eps>``, ``<s>``, ``</s>``, ``<unk>`` and disambiguation symbols (``#0``) are no words.

    Raises:
        NGramError: a line with other fields, or no words.
        OSError: if the file cannot be read.
    """
    words: Dict[str, None] = {}
    for number, (word, *rest) in read_fields(path):
        if len(rest) > 1 or (rest and not rest[0].isdecimal()):
            raise NGramError(f"{path}:{number}: a word, or a word and a number, should be here")
        if word not in _NO_WORDS and not re.fullmatch(r"#\d+", word):
            words[word] = None
    if not words:
        raise NGramError(f"{path}: no words")
    return list(words)


def read_word_counts(path: PathLike, case: str = "keep") -> Dict[str, int]:
    """Word counts: lines of a word and how often it was seen.

    Args:
        path: plain or gzip.
        case: one of :data:`CASES`; words that become equal have their counts added.

    Raises:
        NGramError: a line that is not a word and a count, or no words.
        OSError: if the file cannot be read.
    """
    counts: Dict[str, int] = {}
    for number, fields in read_fields(path):
        if len(fields) != 2 or not fields[1].isdecimal():
            raise NGramError(f"{path}:{number}: a word and its count should be here")
        word = CASES[case](fields[0])
        if word not in SPECIAL:
            counts[word] = counts.get(word, 0) + int(fields[1])
    if not counts:
        raise NGramError(f"{Path(path)}: no words")
    return counts
