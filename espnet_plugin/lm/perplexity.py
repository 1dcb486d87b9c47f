"""How well a model foretells a text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import Iterable, Sequence

import numpy as np

from espnet_plugin.lm.ngram import NGram, NGramError


@dataclass(frozen=True)
class Perplexity:
    """A model's figures on a text.

    Attributes:
        sentences: how many; each counts as one more word, ``</s>``.
        words: how many, words out of the vocabulary among them.
        unknown: words out of the vocabulary.
        log_prob: natural log probability of all words and ``</s>``, unknown ones as ``<unk>``.
        log_prob_known: the same without the unknown words.
    """

    sentences: int
    words: int
    unknown: int
    log_prob: float
    log_prob_known: float

    @property
    def with_unknown(self) -> float:
        """Perplexity of all words; infinite for unknown words and a model without ``<unk>``."""
        return math.exp(-self.log_prob / (self.words + self.sentences))

    @property
    def known(self) -> float:
        """Perplexity with the unknown words left out of sum and count, as SRILM gives it."""
        return math.exp(-self.log_prob_known / (self.words - self.unknown + self.sentences))

    def __str__(self) -> str:
        return (
            f"perplexity {self.known:.2f} without and {self.with_unknown:.2f} with unknown words; "
            f"{self.unknown} of {self.words} words unknown ({self.unknown / self.words:.2%}), "
            f"{self.sentences} sentences"
        )


def perplexity(model: NGram, sentences: Iterable[Sequence[str]], batch: int = 10_000) -> Perplexity:
    """Perplexity of ``model`` on sentences, ``batch`` of them at a time.

    Raises:
        NGramError: there are no words.
    """
    vocabulary = set(model.vocabulary)
    count = words = unknown = 0
    total, total_known = [], []
    stream = iter(sentences)
    while part := list(islice(stream, batch)):
        scores = np.concatenate(model.score_sentences(part))
        known = np.array(
            [one for line in part for one in (*(word in vocabulary for word in line), True)]
        )
        count += len(part)
        words += len(known) - len(part)
        unknown += int((~known).sum())
        total.append(scores.sum())
        total_known.append(scores[known].sum())
    if not words:
        raise NGramError("no words to measure perplexity on")
    return Perplexity(count, words, unknown, math.fsum(total), math.fsum(total_known))
