"""Alignment of a hypothesis with its reference, and the counts that error rates are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import kaldialign

GAP = ""
"""Stands in an alignment where one side has nothing. No token is the empty string."""

Pair = Tuple[str, str]


@dataclass(frozen=True)
class Counts:
    """Sums over utterances.

    Attributes:
        utterances: how many.
        tokens: words (characters, pieces) of the references.
        correct: of these, found in the hypothesis.
        substituted: of these, something else is in their place.
        deleted: of these, nothing is in their place.
        inserted: words of the hypotheses where the reference has none.
        wrong_utterances: utterances with at least one error.
    """

    utterances: int = 0
    tokens: int = 0
    correct: int = 0
    substituted: int = 0
    deleted: int = 0
    inserted: int = 0
    wrong_utterances: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substituted + self.deleted + self.inserted

    @property
    def error_rate(self) -> Optional[float]:
        """Errors per reference token, in percent; None if the references are empty."""
        return 100.0 * self.errors / self.tokens if self.tokens else None

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, n) + getattr(other, n) for n in self.__dataclass_fields__))


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> List[Pair]:
    """Pairs (reference token, hypothesis token) of a best alignment, all errors costing 1.

    :data:`GAP` stands for nothing. sclite weighs a substitution 4 and the others 3, which on
    rare utterances gives one more error than this minimum.

    Raises:
        ValueError: if a token is the empty string.
    """
    if GAP in reference or GAP in hypothesis:
        raise ValueError("a token is empty")
    if not reference or not hypothesis:
        return [(token, GAP) for token in reference] or [(GAP, token) for token in hypothesis]
    return [(ref, hyp) for ref, hyp in kaldialign.align(reference, hypothesis, GAP)]


def count_errors(alignment: Sequence[Pair]) -> Counts:
    """The counts of one utterance's alignment."""
    correct = sum(ref == hyp for ref, hyp in alignment)
    deleted = sum(hyp == GAP for _, hyp in alignment)
    inserted = sum(ref == GAP for ref, _ in alignment)
    return Counts(
        utterances=1,
        tokens=len(alignment) - inserted,
        correct=correct,
        substituted=len(alignment) - correct - deleted - inserted,
        deleted=deleted,
        inserted=inserted,
        wrong_utterances=int(correct < len(alignment)),
    )
