"""Synthetic text with the word frequencies of a real one, for n-gram models of a large vocabulary.

There is no text to go with the word counts of the LibriSpeech training set here, so this makes
one: it says nothing about English beyond single words, but its bigrams and trigrams recur about
as sparsely as in text, which is what the size of a pruned model and its graph depend on.
"""

from __future__ import annotations

from typing import Dict, Iterator, List

import numpy as np
from numpy.typing import NDArray

FOLLOWERS = 200
"""How many favourite followers a word, or a pair of words, has."""


def sample_sentences(
    counts: Dict[str, int], words: int, seed: int = 0, length: int = 18
) -> Iterator[List[str]]:
    """Sentences of about ``words`` words in all.

    The next word is drawn, with probability 0.3, from all words; with 0.4 from the favourite
    followers of the last word; with 0.3 from those of the last two. The favourites of a context
    are drawn once, from all words by their counts (a hash of context and rank stands for the
    draw), and then chosen with Zipf's law over ranks.

    Args:
        counts: word -> count; words of count 0 do not occur.
        words: how many to draw; sentences have ``length`` on average, geometrically.
        seed: of the draws.
        length: mean number of words of a sentence, at least 2.
    """
    names = list(counts)
    cumulated = np.cumsum(np.array([counts[name] for name in names], dtype=np.float64))
    cumulated /= cumulated[-1]
    zipf = np.cumsum(1.0 / np.arange(1, FOLLOWERS + 1))
    zipf /= zipf[-1]
    generator = np.random.default_rng(seed)
    lengths = 1 + generator.geometric(1.0 / (length - 1), max(1, words // length))
    lengths = np.sort(np.minimum(lengths, 6 * length))[::-1]
    drawn = np.zeros((len(lengths), int(lengths[0])), dtype=np.int32)
    last = np.zeros(len(lengths), dtype=np.uint64)
    before = last
    for step in range(int(lengths[0])):
        alive = int((lengths > step).sum())
        last, before = last[:alive], before[:alive]
        kind = generator.random(alive)
        rank = np.searchsorted(zipf, generator.random(alive)).astype(np.uint64)
        free = generator.random(alive)
        context = np.where(kind < 0.7, last, last * np.uint64(1000003) + before + np.uint64(7))
        place = np.where(kind < 0.3, free, _uniform(context * np.uint64(FOLLOWERS + 1) + rank))
        found = np.searchsorted(cumulated, place, side="right")
        drawn[:alive, step] = found
        last, before = found.astype(np.uint64) + np.uint64(1), last
    for row in generator.permutation(len(lengths)):
        yield [names[i] for i in drawn[row, : lengths[row]].tolist()]


def _uniform(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """A number in [0, 1) for every key, by splitmix64's mixing."""
    mixed = keys * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
