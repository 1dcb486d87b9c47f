"""Read and write n-gram models in the ARPA format."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, Callable, Dict, List, NoReturn, Sequence, Tuple

import numpy as np

from espnet_plugin.atomic import PathLike, atomic_path
from espnet_plugin.lm.ngram import Level, NGramError

CHUNK = 2_000
"""How many lines are in memory as text at a time; more are slower."""


def open_maybe_gzip(path: PathLike) -> IO[bytes]:
    """Open a file for reading bytes; one that begins as gzip does is unpacked."""
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else open(path, "rb")  # type: ignore[return-value]


def read_arpa(path: PathLike) -> Tuple[List[str], List[Level]]:
    """The vocabulary and the levels of an ARPA file, plain or gzip.

    Fields may be parted by tabs or spaces; back-off weights may be missing (they are 1 then), as
    may the prefix of an n-gram. Text before ``\\data\\`` and after ``\\end\\`` is passed over.

    Raises:
        NGramError: one line with file and line number: no ``\\data\\``, no ``\\end\\``, a section
            that is missing or differs from the count in the header, a line with the wrong number
            of fields, a probability that is no number or above 1, an n-gram twice, or one with a
            word that is not among the 1-grams.
        OSError: if the file cannot be read.
    """
    with open_maybe_gzip(path) as stream:
        try:
            return _Reader(path, stream).read()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise NGramError(f"{path}: damaged gzip file: {error}") from None


class _Reader:
    """One reading of an ARPA file."""

    def __init__(self, path: PathLike, stream: IO[bytes]) -> None:
        self.path = path
        self.stream = stream
        self.number = 0  # of the line read last
        self.words: List[str] = []
        self.ids: Dict[bytes, int] = {}
        self.levels: List[Level] = []

    def fail(self, line: int, message: str) -> NoReturn:
        raise NGramError(f"{self.path}:{line}: {message}")

    def next_line(self, wanted: str) -> bytes:
        """The next line that is not blank, stripped."""
        for line in self.stream:
            self.number += 1
            line = line.strip()
            if line:
                return line
        self.fail(self.number, f"the file ends where {wanted} should be")

    def read(self) -> Tuple[List[str], List[Level]]:
        counts, line = self.read_header()
        for order, count in enumerate(counts, 1):
            header = f"\\{order}-grams:"
            if line == header.encode():
                self.read_section(order, count, highest=order == len(counts))
                line = self.next_line(f"\\{order + 1}-grams:" if order < len(counts) else "\\end\\")
                if not line.startswith(b"\\"):
                    self.fail(self.number, f"more {order}-grams than the header's {count}")
            elif count or order == 1:
                self.fail(self.number, f"{_show(line)} where {header} should be")
            else:
                self.read_section(order, 0, highest=order == len(counts))
        if line != b"\\end\\":
            self.fail(self.number, f"{_show(line)} where \\end\\ should be")
        return self.words, self.levels

    def read_header(self) -> Tuple[List[int], bytes]:
        """The counts by order, and the line after them."""
        for line in self.stream:
            self.number += 1
            if line.strip() == b"\\data\\":
                break
        else:
            raise NGramError(f"{self.path}: no \\data\\ line, so this is no ARPA file")
        counts: List[int] = []
        while True:
            line = self.next_line("\\1-grams:")
            match = re.fullmatch(rb"ngram\s+(\d+)\s*=\s*(\d+)", line)
            if match is None:
                break
            if int(match[1]) != len(counts) + 1:
                self.fail(self.number, f"{_show(line)} where ngram {len(counts) + 1} should be")
            counts.append(int(match[2]))
        if not counts:
            self.fail(self.number, f"{_show(line)} where ngram 1=... should be")
        return counts, line

    def read_section(self, order: int, count: int, highest: bool) -> None:
        """Add the level of the n-grams of one order."""
        parts = [self.columns([], [], order)]
        done = 0
        while done < count:
            lines = list(islice(self.stream, min(CHUNK, count - done)))
            if not lines:
                self.fail(self.number, f"the file ends after {done} of {count} {order}-grams")
            numbers: Sequence[int] = range(self.number + 1, self.number + 1 + len(lines))
            self.number += len(lines)
            rows = [line.split() for line in lines]
            if not all(rows):
                numbers = [number for number, row in zip(numbers, rows, strict=True) if row]
                rows = [row for row in rows if row]
            if not {order + 1, order + 2}.issuperset(map(len, rows)):
                self.complain_of_fields(numbers, rows, order, done, count)
            parts.append(self.columns(numbers, rows, order))
            done += len(rows)
        at, probs, backoffs, *words = (np.concatenate(part) for part in zip(*parts, strict=True))
        keys = words[0].astype(np.int64)
        for level, following in enumerate(words[1:]):
            if level:
                keys = self.find_prefixes(level, keys)
            keys = keys * len(self.ids) + following
        rank = np.argsort(keys, kind="stable")
        keys = keys[rank]
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if len(twice):
            self.fail(at[rank[twice + 1]].min(), f"this {order}-gram is there twice")
        self.levels.append(Level(keys, probs[rank], None if highest else backoffs[rank]))

    def complain_of_fields(
        self, numbers: Sequence[int], rows: List[List[bytes]], order: int, done: int, count: int
    ) -> NoReturn:
        """Name the first line that has the wrong number of fields."""
        bad = next(i for i, row in enumerate(rows) if len(row) not in (order + 1, order + 2))
        if rows[bad][0].startswith(b"\\"):
            seen = f"{done + bad} {order}-grams"
            self.fail(numbers[bad], f"{seen}, but the header says {count}")
        fields = f"{len(rows[bad])} fields where a {order}-gram has {order + 1} or {order + 2}"
        self.fail(numbers[bad], f"{fields}: {_show(b' '.join(rows[bad]))}")

    def columns(
        self, numbers: Sequence[int], rows: List[List[bytes]], order: int
    ) -> Tuple[np.ndarray, ...]:
        """Line numbers, probabilities, back-off weights and word numbers of some lines."""
        for row in rows:
            if len(row) == order + 1:
                row.append(b"0")
        fields: Sequence[Sequence[bytes]] = list(zip(*rows, strict=True)) or [()] * (order + 2)
        if order == 1:
            self.add_words(numbers, fields[1])
        probs = self.convert(float, fields[0], np.float32, numbers, "is no number")
        backoffs = self.convert(float, fields[-1], np.float32, numbers, "is no number")
        for values, column, bad in (
            (probs, fields[0], ~(probs <= 0)),
            (backoffs, fields[-1], ~(backoffs < np.inf)),
        ):
            if bad.any():
                first = int(np.argmax(bad))
                what = "log10 probability" if values is probs else "back-off weight"
                self.fail(numbers[first], f"{_show(column[first])} is no {what}")
        words = [
            self.convert(self.ids.__getitem__, column, np.int32, numbers, "is not in the 1-grams")
            for column in fields[1:-1]
        ]
        return (np.array(numbers, dtype=np.int64), probs, backoffs, *words)

    def add_words(self, numbers: Sequence[int], words: Sequence[bytes]) -> None:
        """Give numbers to words of the 1-grams."""
        for number, word in zip(numbers, words, strict=True):
            if word not in self.ids:
                self.ids[word] = len(self.ids)
                try:
                    self.words.append(word.decode("utf-8"))
                except UnicodeDecodeError:
                    self.fail(number, f"the word {word!r} is not UTF-8")

    def convert(
        self,
        function: Callable[[bytes], float],
        column: Sequence[bytes],
        dtype: type,
        numbers: Sequence[int],
        complaint: str,
    ) -> np.ndarray:
        """``function`` of every field of ``column`` as an array."""
        try:
            return np.fromiter(map(function, column), dtype=dtype, count=len(column))
        except (ValueError, KeyError):
            for number, value in zip(numbers, column, strict=True):
                try:
                    function(value)
                except (ValueError, KeyError):
                    self.fail(number, f"{_show(value)} {complaint}")
            raise

    def find_prefixes(self, level: int, keys: np.ndarray) -> np.ndarray:
        """Where ``keys`` are in ``self.levels[level]``; those that are missing are put there."""
        old = self.levels[level]
        new = np.unique(keys[old.find(keys) < 0])
        if len(new):
            at = np.searchsorted(old.keys, new)
            assert old.log10_backoffs is not None
            self.levels[level] = Level(
                np.insert(old.keys, at, new),
                np.insert(old.log10_probs, at, np.nan),
                np.insert(old.log10_backoffs, at, 0),
            )
            if level + 1 < len(self.levels):
                moved = np.arange(len(old.keys)) + np.searchsorted(new, old.keys)
                longer = self.levels[level + 1]
                prefixes, last = np.divmod(longer.keys, len(self.ids))
                self.levels[level + 1] = replace(
                    longer, keys=moved[prefixes] * len(self.ids) + last
                )
        return self.levels[level].find(keys)


def _show(line: bytes) -> str:
    """A line of a file for a message, shortened."""
    text = line.decode("utf-8", "replace")
    return repr(text if len(text) <= 40 else text[:40] + "...")


def write_arpa(path: PathLike, vocabulary: Sequence[str], levels: Sequence[Level]) -> None:
    """Write an ARPA file, whole or not at all; gzip if the name ends in ``.gz``.

    Values have nine significant digits, so that reading gives the same float32 values. N-grams
    are sorted by their words' numbers. A back-off weight of 1 is written as 0 where others are
    not; the highest order has none.
    """
    explicit = [~np.isnan(level.log10_probs) for level in levels]
    with atomic_path(path) as temporary, _open_to_write(temporary) as stream:
        sizes = "".join(f"ngram {n}={used.sum()}\n" for n, used in enumerate(explicit, 1))
        stream.write(f"\\data\\\n{sizes}")
        texts: List[str] = []
        for order, (level, used) in enumerate(zip(levels, explicit, strict=True), 1):
            stream.write(f"\n\\{order}-grams:\n")
            if order == 1:
                texts = list(vocabulary)
            else:
                prefixes, last = np.divmod(level.keys, len(vocabulary))
                texts = [
                    f"{texts[prefix]} {vocabulary[word]}"
                    for prefix, word in zip(prefixes.tolist(), last.tolist(), strict=True)
                ]
            probs = level.log10_probs.tolist()
            backoffs = (
                [""] * len(probs)
                if level.log10_backoffs is None
                else [f"\t{value:.9g}" for value in level.log10_backoffs.tolist()]
            )
            rows = zip(used.tolist(), probs, texts, backoffs, strict=True)
            stream.writelines(
                f"{prob:.9g}\t{text}{backoff}\n" for keep, prob, text, backoff in rows if keep
            )
        stream.write("\n\\end\\\n")


def _open_to_write(path: Path) -> IO[str]:
    """Open for writing UTF-8 text, packed if the name ends in ``.gz``."""
    if path.suffix == ".gz":
        return gzip.open(path, "wt", compresslevel=6, encoding="utf-8", newline="\n")  # type: ignore[return-value]
    return open(path, "w", encoding="utf-8", newline="\n")
