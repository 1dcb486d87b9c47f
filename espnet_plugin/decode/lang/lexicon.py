"""Lexicons: words and their pronunciations in phones or other tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

from espnet_plugin.atomic import PathLike
from espnet_plugin.decode.lang.langdir import RESERVED
from espnet_plugin.lm.text import read_fields


@dataclass(frozen=True)
class Entry:
    """A pronunciation.

    Attributes:
        word: the word.
        tokens: token ids, at least one.
        probability: above 0 and at most 1.
    """

    word: str
    tokens: Tuple[int, ...]
    probability: float = 1.0


def read_lexicon(path: PathLike, tokens: Sequence[str], probabilities: bool = False) -> List[Entry]:
    """Read a lexicon: a line is a word, its probability if there are any, and its tokens.

    A word may have several lines. Empty lines are skipped.

    Args:
        path: the file, UTF-8, plain or gzip.
        tokens: the model's outputs; the blank, which is the first, is no phone.
        probabilities: whether the second column is a probability (Kaldi's lexiconp.txt).

    Raises:
        ValueError: naming every line at fault: without a pronunciation, with an unknown token,
            a duplicate, a probability outside (0, 1], a reserved word.
    """
    ids = {token: i for i, token in enumerate(tokens) if i > 0}
    entries: List[Entry] = []
    faults: List[str] = []
    seen: Dict[Tuple[str, Tuple[str, ...]], int] = {}
    for number, fields in read_fields(path):
        word, spelt, probability = fields[0], tuple(fields[1:]), 1.0
        try:
            if word in RESERVED:
                raise ValueError(f"{word} is reserved")
            if probabilities:
                probability, spelt = _probability(spelt[:1]), spelt[1:]
            if not spelt:
                raise ValueError(f"{word} has no pronunciation")
            unknown = sorted({token for token in spelt if token not in ids})
            if unknown:
                raise ValueError(f"{word}: not in the token list: {' '.join(unknown)}")
            if (word, spelt) in seen:
                raise ValueError(f"{word} {' '.join(spelt)} is also in line {seen[word, spelt]}")
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
            continue
        seen[word, spelt] = number
        entries.append(Entry(word, tuple(ids[token] for token in spelt), probability))
    if faults:
        raise ValueError("\n".join([f"{path}: {len(faults)} bad lines", *faults]))
    if not entries:
        raise ValueError(f"{path}: no pronunciation in it")
    return entries


def _probability(fields: Sequence[str]) -> float:
    try:
        value = float(fields[0])
    except (IndexError, ValueError):
        value = 0.0
    if not 0 < value <= 1:
        raise ValueError(f"no probability above 0 and at most 1: {' '.join(fields) or 'nothing'}")
    return value
