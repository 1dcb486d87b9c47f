"""Pronunciations of words as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pronunciations:
    """R pronunciations, sorted by word; a word has one or more.

    Attributes:
        word: (R) int64 word ids, above 0.
        length: (R) int64 numbers of tokens, above 0.
        tokens: (sum of lengths) int64 token ids, above 0, one pronunciation after the other.
        log_prob: (R) float64 natural logarithms of the pronunciations' probabilities.
    """

    word: NDArray[np.int64]
    length: NDArray[np.int64]
    tokens: NDArray[np.int64]
    log_prob: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.word)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(R) where each pronunciation begins in ``tokens``."""
        return np.cumsum(self.length) - self.length

    def padded(self) -> NDArray[np.int64]:
        """(R, longest) tokens, filled up with −1."""
        longest = int(self.length.max(initial=0))
        table = np.full((len(self), longest), -1, dtype=np.int64)
        table[np.arange(longest) < self.length[:, None]] = self.tokens
        return table

    @classmethod
    def from_entries(cls, entries: Iterable[Tuple[int, Sequence[int], float]]) -> Pronunciations:
        """From (word id, token ids, probability) in any order."""
        rows = sorted(entries, key=lambda entry: entry[0])
        return cls(
            np.array([word for word, _, _ in rows], dtype=np.int64),
            np.array([len(tokens) for _, tokens, _ in rows], dtype=np.int64),
            np.array([t for _, tokens, _ in rows for t in tokens], dtype=np.int64),
            np.log(np.array([p for _, _, p in rows], dtype=np.float64)),
        )
