"""Scores of one set of utterances."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from espnet_plugin.atomic import PathLike
from espnet_plugin.score.counts import Counts, Pair, align, count_errors
from espnet_plugin.score.interval import bootstrap_interval


class ScoreError(ValueError):
    """Texts that cannot be scored; the message is one line."""


@dataclass(frozen=True)
class Scores:
    """One set in one unit.

    Attributes:
        alignments: of every utterance, in the references' order.
        counts: their sums.
        interval: 95 % bootstrap interval of the error rate in percent; None without references.
    """

    alignments: Dict[str, List[Pair]]
    counts: Counts
    interval: Optional[Tuple[float, float]]

    def as_dict(self) -> Dict[str, Any]:
        """Counts, error rate and interval, for JSON."""
        values = asdict(self.counts)
        values.update(errors=self.counts.errors, error_rate=self.counts.error_rate)
        values["interval_95"] = list(self.interval) if self.interval else None
        return values


def read_text(path: PathLike) -> Dict[str, str]:
    """A Kaldi text file: utterance id -> text. An id alone on its line has an empty text.

    Raises:
        ScoreError: if the file is missing, empty or not UTF-8, or names an utterance twice.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ScoreError(f"{path}: not there") from None
    except UnicodeDecodeError as error:
        raise ScoreError(f"{path}: not UTF-8: {error}") from None
    texts: Dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, *text = line.strip().split(maxsplit=1)
        if name in texts:
            raise ScoreError(f"{path}:{number}: {name} is there twice")
        texts[name] = text[0] if text else ""
    if not texts:
        raise ScoreError(f"{path}: empty")
    return texts


def check_ids(references: Dict[str, str], hypotheses: Dict[str, str], where: str) -> None:
    """Refuse references without hypotheses and hypotheses without references.

    Raises:
        ScoreError: one line that lists them, at most ten of each.
    """
    complaints = []
    for what, ids in (
        ("no hypothesis for", [i for i in references if i not in hypotheses]),
        ("no reference for", [i for i in hypotheses if i not in references]),
    ):
        if ids:
            more = f" and {len(ids) - 10} more" if len(ids) > 10 else ""
            complaints.append(f"{what} {', '.join(ids[:10])}{more}")
    if complaints:
        raise ScoreError(f"{where}: {'; '.join(complaints)}")


def score_texts(
    references: Dict[str, str],
    hypotheses: Dict[str, str],
    tokenizer: Callable[[str], List[str]] = str.split,
    where: str = "texts",
) -> Scores:
    """Align and count a set.

    Args:
        references: utterance id -> text.
        hypotheses: utterance id -> text, for the same ids.
        tokenizer: splits a text into what is counted; words by default.
        where: the set's name, for errors.

    Raises:
        ScoreError: if the ids differ.
    """
    check_ids(references, hypotheses, where)
    alignments = {
        name: align(tokenizer(text), tokenizer(hypotheses[name]))
        for name, text in references.items()
    }
    counts = [count_errors(alignment) for alignment in alignments.values()]
    interval = bootstrap_interval([c.errors for c in counts], [c.tokens for c in counts])
    return Scores(alignments, reduce(add, counts, Counts()), interval)
