"""n-gram counts of a text, in arrays."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from espnet_plugin.lm.ngram import NGramError, contexts, extend

SPECIAL = ("<unk>", "<s>", "</s>")


@dataclass(frozen=True)
class Counts:
    """The n-grams of one order in a text, sorted by prefix and last word.

    Attributes:
        keys: (N,) int64: number of the prefix, an n-gram of the order below, times the size of
            the vocabulary, plus the number of the last word.
        suffixes: (N,) the number of the n-gram without its first word, in the order below.
        raw: (N,) how often the n-gram is in the text.
        adjusted: (N,) the same for n-grams of the highest order and those that begin with
            ``<s>``; for others the number of different words before them in the text.
    """

    keys: np.ndarray
    suffixes: np.ndarray
    raw: np.ndarray
    adjusted: np.ndarray


def number_words(
    sentences: Iterable[Sequence[str]], vocabulary: Optional[Iterable[str]], more: Iterable[str]
) -> Tuple[List[str], np.ndarray]:
    """The vocabulary and the text in numbers.

    Args:
        sentences: lists of words without ``<s>`` and ``</s>``.
        vocabulary: all words that count; others are ``<unk>``. None: all words of the text.
        more: words that join the vocabulary.

    Returns:
        The words, of which the first three are ``<unk>``, ``<s>`` and ``</s>``, and (T,) int32
        numbers of the text with ``<s>`` and ``</s>`` around each sentence.

    Raises:
        NGramError: if a sentence holds ``<s>`` or ``</s>``, or there are no sentences.
    """
    ids: Dict[str, int] = {word: i for i, word in enumerate(SPECIAL)}
    for word in (*(vocabulary or ()), *more):
        ids.setdefault(word, len(ids))
    text = array("i")
    for number, words in enumerate(sentences, 1):
        if vocabulary is None:
            for word in words:
                if word not in ids:
                    ids[word] = len(ids)
        start = len(text) + 1
        text.append(1)
        text.extend([ids.get(word, 0) for word in words])
        if 1 in text[start:] or 2 in text[start:]:
            raise NGramError(f"sentence {number} holds <s> or </s>: take them out of the text")
        text.append(2)
    if not text:
        raise NGramError("no sentences to train on")
    return list(ids), np.frombuffer(text, dtype=np.int32)


def count_ngrams(text: np.ndarray, vocabulary_size: int, order: int) -> List[Counts]:
    """Counts of orders 1 to ``order`` of a numbered text (T,).

    Adjusted counts are those of Heafield et al. 2013, "Scalable Modified Kneser-Ney Language
    Model Estimation", section 3.2. The adjusted count of ``<s>`` alone is 0.
    """
    starts = np.flatnonzero(text == 1)
    keys = np.arange(vocabulary_size)
    suffixes = np.zeros(vocabulary_size, dtype=np.int32)
    raw = np.bincount(text, minlength=vocabulary_size)
    begins = keys == 1
    nodes = text
    counts: List[Counts] = []
    for _ in range(1, order):
        places, found = extend(contexts(nodes, starts), text, vocabulary_size)
        next_keys, first, inverse, next_raw = np.unique(
            found, return_index=True, return_inverse=True, return_counts=True
        )
        del found
        next_suffixes = nodes[places[first]].astype(np.int32)
        left = np.bincount(next_suffixes, minlength=len(keys))
        counts.append(Counts(keys, suffixes, raw, np.where(begins, raw, left)))
        begins = begins[next_keys // vocabulary_size]
        keys, suffixes, raw = next_keys, next_suffixes, next_raw
        nodes = np.full(len(text), -1, dtype=np.int32)
        nodes[places] = inverse.reshape(-1)
    counts.append(Counts(keys, suffixes, raw, raw))
    counts[0].adjusted[1] = 0
    return counts
