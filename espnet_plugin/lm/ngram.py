"""Back-off n-gram language models: hold, query, load and save them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from espnet_plugin.atomic import PathLike

BOS = ("<s>", "<S>")
EOS = ("</s>", "</S>")
UNK = ("<unk>", "<UNK>")


class NGramError(ValueError):
    """Something wrong with a model, an ARPA file or a text; the message is one line."""


@dataclass(frozen=True)
class Level:
    """All n-grams of one order; the prefix of each is one of the order below.

    Attributes:
        keys: (N,) int64, ascending: number of the prefix within its level times the size of the
            vocabulary, plus the number of the last word. Order 1: the numbers of the words.
        log10_probs: (N,) float32; NaN for an n-gram that is only the prefix of others.
        log10_backoffs: (N,) float32; None for the highest order.
    """

    keys: np.ndarray
    log10_probs: np.ndarray
    log10_backoffs: Optional[np.ndarray] = None

    def find(self, keys: np.ndarray) -> np.ndarray:
        """(M,) int64: where ``keys`` (M,) are in this level, -1 for what is not here."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[found] == keys, found, -1)


def extend(
    before: np.ndarray, words: np.ndarray, vocabulary_size: int
) -> Tuple[np.ndarray, np.ndarray]:
    """The positions of a text where an n-gram may end, and its keys there.

    Args:
        before: (T,) the n-gram of the order below that ends just before each position, or -1.
        words: (T,) the numbers of the words, or -1.
        vocabulary_size: how many words there are.

    Returns:
        (M,) int64 positions, and (M,) int64 keys for :meth:`Level.find`.
    """
    places = np.flatnonzero((before >= 0) & (words >= 0))
    return places, before[places].astype(np.int64) * vocabulary_size + words[places]


def contexts(nodes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(T,) for ``nodes`` (T,): what stands at the position before; -1 at ``starts``."""
    before = np.roll(nodes, 1)
    before[starts] = -1
    return before


class NGram:
    """A back-off n-gram model.

    Args:
        vocabulary: all words, ``<s>``, ``</s>`` and ``<unk>`` among them where the model has
            them; their capital forms are taken for the same.
        levels: of orders 1, 2, ...

    Attributes:
        bos, eos, unk: places of ``<s>``, ``</s>`` and ``<unk>`` in the vocabulary; -1 for what
            the model has not.
    """

    def __init__(self, vocabulary: Sequence[str], levels: Sequence[Level]) -> None:
        self._words = list(vocabulary)
        self._ids: Dict[str, int] = {word: i for i, word in enumerate(self._words)}
        self._levels = list(levels)
        self.bos, self.eos, self.unk = (
            next((self._ids[name] for name in names if name in self._ids), -1)
            for names in (BOS, EOS, UNK)
        )

    @classmethod
    def load(cls, path: PathLike) -> NGram:
        """Read an ARPA file, plain or gzip (told by its content, not its name).

        Raises:
            NGramError: one line with file and line number if it is no well-formed ARPA.
            OSError: if it cannot be read.
        """
        from espnet_plugin.lm.arpa import read_arpa

        return cls(*read_arpa(path))

    def save(self, path: PathLike) -> None:
        """Write an ARPA file, whole or not at all; gzip if the name ends in ``.gz``."""
        from espnet_plugin.lm.arpa import write_arpa

        write_arpa(path, self._words, self._levels)

    @property
    def order(self) -> int:
        """The longest n-gram's number of words."""
        return len(self._levels)

    @property
    def vocabulary(self) -> List[str]:
        """All words, ``<s>``, ``</s>`` and ``<unk>`` among them where the model has them."""
        return list(self._words)

    @property
    def counts(self) -> List[int]:
        """How many n-grams of each order have a probability of their own."""
        return [int((~np.isnan(level.log10_probs)).sum()) for level in self._levels]

    @property
    def levels(self) -> List[Level]:
        """The n-grams of orders 1, 2, ..."""
        return list(self._levels)

    def __contains__(self, word: str) -> bool:
        """Whether ``word`` is in the vocabulary."""
        return word in self._ids

    def score(self, words: Sequence[str], bos: bool = True, eos: bool = True) -> float:
        """Natural log probability of a sentence: the sum of :meth:`score_words`."""
        return math.fsum(self.score_words(words, bos, eos))

    def score_words(self, words: Sequence[str], bos: bool = True, eos: bool = True) -> List[float]:
        """Natural log probability of each word after the words before it.

        Args:
            words: of one sentence, without ``<s>`` and ``</s>``.
            bos: the sentence begins with ``<s>``; else its first word has no context.
            eos: append the probability of ``</s>``.

        Returns:
            A value for each word (one more with ``eos``). A word that is not in the vocabulary
            is taken for ``<unk>``; if the model has none, it gets -inf and ends the context.
            So does ``</s>`` in a model without it.
        """
        return self.score_sentences([words], bos, eos)[0].tolist()

    def score_sentences(
        self, sentences: Iterable[Sequence[str]], bos: bool = True, eos: bool = True
    ) -> List[np.ndarray]:
        """:meth:`score_words` of many sentences at once, which is far faster than one by one.

        Returns:
            A float64 array for each sentence.
        """
        head, tail = ([self.bos] if bos else []), ([self.eos] if eos else [])
        ids = [
            head + [self._ids.get(word, self.unk) for word in words] + tail for words in sentences
        ]
        lengths = np.array([len(sentence) for sentence in ids], dtype=np.int64)
        words = np.fromiter(chain.from_iterable(ids), dtype=np.int64, count=int(lengths.sum()))
        ends = lengths.cumsum()
        starts = (ends - lengths)[lengths > 0]
        scores = self.log10_probs(words, starts) * math.log(10)
        return [
            scores[end - length + len(head) : end]
            for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
        ]

    def log10_probs(self, words: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """(T,) float64: base-10 log probabilities of a text in word numbers.

        Args:
            words: (T,) places in the vocabulary; -1 is no word.
            starts: positions where sentences begin; no context reaches across them.
        """
        unigrams, *longer = self._levels
        nodes = words
        scores = np.where(words >= 0, unigrams.log10_probs[words].astype(np.float64), -np.inf)
        backoffs = unigrams.log10_backoffs
        for level in longer:
            if backoffs is None or not len(backoffs):
                break  # no contexts of this length
            before = contexts(nodes, starts)
            scores += np.where(before >= 0, backoffs[before].astype(np.float64), 0.0)
            places, keys = extend(before, words, len(self._words))
            found = level.find(keys)
            nodes = np.full(len(words), -1)
            nodes[places] = found
            places, found = places[found >= 0], found[found >= 0]
            explicit = level.log10_probs[found]
            scores[places] = np.where(np.isnan(explicit), scores[places], explicit)
            backoffs = level.log10_backoffs
        return scores
