"""Scores to read: ESPnet's RESULTS tables, and alignments in the manner of sclite."""

from __future__ import annotations

from typing import Dict, Iterable, List, Optional, Sequence

from espnet_plugin.score.counts import GAP, Counts, Pair, count_errors

HEADER = "|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|\n|---|---|---|---|---|---|---|---|---|\n"


def results_table(rows: Dict[str, Counts]) -> str:
    """The Markdown table of ESPnet's ``show_asr_result.sh``: sizes, then percentages."""
    return HEADER + "".join(f"|{name}|{_cells(counts)}|\n" for name, counts in rows.items())


def _cells(counts: Counts) -> str:
    numbers = (counts.correct, counts.substituted, counts.deleted, counts.inserted, counts.errors)
    cells = [str(counts.utterances), str(counts.tokens)]
    cells += [_percent(number, counts.tokens) for number in numbers]
    cells.append(_percent(counts.wrong_utterances, counts.utterances))
    return "|".join(cells)


def _percent(part: int, whole: int) -> str:
    return f"{100.0 * part / whole:.1f}" if whole else "-"


def alignment_text(alignments: Dict[str, List[Pair]]) -> str:
    """All utterances: scores, reference, hypothesis and the kind of every error below them."""
    return "\n".join(_utterance(name, pairs) for name, pairs in alignments.items())


def _utterance(name: str, pairs: Sequence[Pair]) -> str:
    counts = count_errors(pairs)
    scores = (counts.correct, counts.substituted, counts.deleted, counts.inserted)
    width = [max(len(ref or "***"), len(hyp or "***")) for ref, hyp in pairs]
    rows: Iterable[tuple[str, Iterable[Optional[str]]]] = (
        ("REF: ", (ref or "*" * w for (ref, _), w in zip(pairs, width, strict=True))),
        ("HYP: ", (hyp or "*" * w for (_, hyp), w in zip(pairs, width, strict=True))),
        ("Eval:", (_kind(pair) for pair in pairs)),
    )
    lines = [f"id: ({name})", f"Scores: (#C #S #D #I) {' '.join(map(str, scores))}"]
    for head, cells in rows:
        padded = (f"{cell:<{w}}" for cell, w in zip(cells, width, strict=True))
        lines.append(f"{head} {' '.join(padded)}".rstrip())
    return "\n".join(lines) + "\n"


def _kind(pair: Pair) -> str:
    ref, hyp = pair
    if ref == hyp:
        return ""
    return "D" if hyp == GAP else "I" if ref == GAP else "S"
