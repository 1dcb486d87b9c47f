"""The fewest errors that any path of a lattice, or of an n-best list, would make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence, Tuple

import kaldialign
import numpy as np

from espnet_plugin.decode.rescore.nbest import Path
from espnet_plugin.decode.rescore.prefixes import lattice_bounds, output_labels
from espnet_plugin.score.counts import Counts

if TYPE_CHECKING:
    import k2

# Errors and their kinds in one integer, so that sums and comparisons are of integers: all
# errors weigh most, and of equally many those with fewer substitutions are less.
_BITS = 16
_ERROR = 1 << 3 * _BITS
_SUB, _INS, _DEL = (_ERROR + (1 << _BITS * i) for i in (2, 1, 0))
_OTHER = "\0"  # a word, or its beginning, that is not in the reference

States = Dict[str, np.ndarray]


def word_units(words: Sequence[str]) -> List[str]:
    """What each label adds to the text where labels are words (or anything that is counted)."""
    return [f" {word} " for word in words]


def token_units(token_list: Sequence[str], token_type: str) -> List[str]:
    """What each label adds to the text where labels are a model's tokens.

    Args:
        token_list: all tokens, the blank first.
        token_type: ``bpe``: SentencePiece's mark of a word's beginning is a space, and
            ``<unk>`` a word of its own, as ESPnet's tokenizer has it; ``char``: ``<space>`` is
            a space; others: every token is a word.
    """
    if token_type == "bpe":
        return [" ⁇ " if t == "<unk>" else t.replace("▁", " ") for t in token_list]
    if token_type == "char":
        return [" " if t == "<space>" else t for t in token_list]
    return word_units(token_list)


def lattice_oracle(
    lattice: k2.Fsa, references: Sequence[Sequence[str]], units: Sequence[str]
) -> List[Counts]:
    """The errors of the best path of every lattice, scores left aside: exact.

    Dynamic programming over the states of the lattice and the positions in the reference. Where
    labels are pieces of words, the beginning of the current word belongs to the state, as far
    as a word of the reference begins so; all others are alike, since they match nothing. So
    the words of a path are exactly those of its text, and no list of paths is made.

    Args:
        lattice: an FsaVec of top-sorted lattices.
        references: the words of each lattice's reference.
        units: the text that each label adds, see :func:`word_units` and :func:`token_units`.

    Returns:
        One count per lattice: of the paths with the fewest errors one with the fewest
        substitutions. A lattice without a path has all words deleted.
    """
    first_states, first_arcs = lattice_bounds(lattice)
    arcs = lattice.arcs.values()[:, :2].cpu().tolist()
    outputs = output_labels(lattice)
    result = []
    for i, reference in enumerate(references):
        arcs_here = slice(first_arcs[i], first_arcs[i + 1])
        final = first_states[i + 1] - first_states[i] - 1
        oracle = _Oracle(list(reference), units)
        result.append(oracle.count(arcs[arcs_here], outputs[arcs_here], final))
    return result


class _Oracle:
    """One reference of R words; costs are (R + 1,) int64, one for each number of words read."""

    def __init__(self, reference: List[str], units: Sequence[str]) -> None:
        self.reference, self.units = reference, units
        self.prefixes = {word[:i] for word in reference for i in range(len(word) + 1)} | {""}
        words = np.array(reference, dtype=object)
        self.substitution = {
            word: np.where(words == word, 0, _SUB).astype(np.int64) for word in set(reference)
        }
        self.deletions = np.arange(len(reference) + 1, dtype=np.int64) * _DEL

    def count(
        self, arcs: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]], final: int
    ) -> Counts:
        """The counts of one lattice."""
        states: Dict[int, States] = {0: {"": self.deletions}}
        here = -1
        before: States = {}
        for (source, destination), labels in zip(arcs, outputs, strict=True):
            if source != here:  # arcs are sorted by source: nothing is added to it any more
                here, before = source, states.pop(source, {})
            for word, costs in before.items():
                for label in labels:
                    word, costs = self.read(word, costs, self.units[label])
                into = states.setdefault(destination, {})
                known = into.get(word)
                into[word] = costs if known is None else np.minimum(known, costs)
        ends = [self.close(*end)[-1] for end in states.get(final, {}).items()] if arcs else []
        cost = int(min(ends, default=self.deletions[-1]))
        substituted, inserted, deleted = (
            (cost >> _BITS * i) & ((1 << _BITS) - 1) for i in (2, 1, 0)
        )
        size = len(self.reference)
        return Counts(
            utterances=1,
            tokens=size,
            correct=size - substituted - deleted,
            substituted=substituted,
            deleted=deleted,
            inserted=inserted,
            wrong_utterances=int(cost > 0),
        )

    def read(self, word: str, costs: np.ndarray, unit: str) -> Tuple[str, np.ndarray]:
        """Add a label's text; ``word`` is what has been said of the current word."""
        first, *others = unit.split(" ")
        word = self._longer(word, first)
        for part in others:
            costs = self.close(word, costs)
            word = self._longer("", part)
        return word, costs

    def _longer(self, word: str, part: str) -> str:
        if not part:
            return word
        return word + part if word + part in self.prefixes else _OTHER

    def close(self, word: str, costs: np.ndarray) -> np.ndarray:
        """The costs after the end of a word; there is none if nothing of it has been said."""
        if not word:
            return costs
        after = costs + _INS
        substitution = self.substitution.get(word, _SUB)
        after[1:] = np.minimum(after[1:], costs[:-1] + substitution)
        return np.minimum.accumulate(after - self.deletions) + self.deletions


def nbest_oracle(
    nbest: Sequence[Sequence[Path]],
    references: Sequence[Sequence[str]],
    to_words: Callable[[Sequence[int]], Sequence[str]],
) -> List[Tuple[Optional[Path], Counts]]:
    """The path of each list with the fewest errors, the first of them if there are several.

    Args:
        nbest: one list per utterance.
        references: the words of each utterance's reference.
        to_words: from a path's labels to its words.

    Returns:
        Path and errors; an empty list gives no path and all words deleted.
    """
    result = []
    for paths, reference in zip(nbest, references, strict=True):
        best: Optional[Path] = None
        fewest = count_words(reference, [])
        for k, path in enumerate(paths):
            counts = count_words(reference, to_words(path.labels))
            if k == 0 or counts.errors < fewest.errors:
                best, fewest = path, counts
        result.append((best, fewest))
    return result


def count_words(reference: Sequence[str], words: Sequence[str]) -> Counts:
    """Errors of one hypothesis by the fewest edits."""
    edits = kaldialign.edit_distance(list(reference), list(words))
    inserted, deleted, substituted = (edits[name] for name in ("ins", "del", "sub"))
    return Counts(
        utterances=1,
        tokens=len(reference),
        correct=len(reference) - deleted - substituted,
        substituted=substituted,
        deleted=deleted,
        inserted=inserted,
        wrong_utterances=int(edits["total"] > 0),
    )
