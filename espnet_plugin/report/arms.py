"""Edits of one model side by side: WER, size and speed of each."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import yaml

from espnet_plugin.atomic import PathLike
from espnet_plugin.report.decodings import (
    ModelDecodings,
    ResultsError,
    rate,
    read_decodings,
    read_json,
)
from espnet_plugin.surgery.actions import (
    Action,
    Drop,
    LocalAttention,
    Mimic,
    PruneHeads,
    ReuseAttention,
    Share,
)
from espnet_plugin.surgery.plan import BlockPlan


def arms_table(arms: Sequence[PathLike], tags: Sequence[str], benchmark: PathLike) -> List[str]:
    """A row for each experiment, the original first.

    Args:
        arms: experiment directories that hold an edited stack, decoded and scored.
        tags: decodings in each.
        benchmark: folder that ``bin.benchmark`` wrote of all of them, under their folders' names.

    Returns:
        Lines of markdown.

    Raises:
        ResultsError: something is not there.
    """
    measured = read_json(Path(benchmark) / "benchmark.json")
    decoded = [read_decodings(arm, tags) for arm in arms]
    columns = [(one.tag, one.method, name) for one in decoded[0].decodings for name in one.wer]
    lengths = sorted({row["seconds"] for row in measured["speeds"]})
    head = ["arm", "edit", "healed", *(f"WER {name}, {method}" for _, method, name in columns)]
    head += ["encoder (M)", "GMAC/s"]
    for length in lengths:
        head += [f"RTF, {length:g} s", f"times as fast, {length:g} s"]
    lines = ["|" + "|".join(head) + "|", "|" + "---|" * len(head)]
    for arm, one in zip(arms, decoded, strict=True):
        cells = [one.model, edit_of(arm), healing_of(arm)]
        cells += [_wer(one, tag, name) for tag, _, name in columns]
        cells += _cost(one.model, measured, lengths)
        lines.append("|" + "|".join(cells) + "|")
    threads = measured["environment"]["threads"]
    note = (
        "WER in percent with its 95 % bootstrap interval over utterances; healed: updates and "
        "seconds of distillation; GMAC per second of speech at "
        f"{measured['macs_seconds']:g} s; RTF: real-time factor of the encoder, one utterance at a "
        f"time on {threads} threads; times as fast: against the first row, measured in turn."
    )
    return [*lines, "", note]


def edit_of(arm: PathLike) -> str:
    """What was done to the stack of an experiment, in a few words.

    Raises:
        ResultsError: config.yaml is not there or has no stack.
    """
    path = Path(arm) / "config.yaml"
    try:
        plans = yaml.safe_load(path.read_text(encoding="utf-8"))["encoder_conf"]["stack"]["plans"]
    except FileNotFoundError:
        raise ResultsError(f"{path}: not there") from None
    except (yaml.YAMLError, KeyError, TypeError):
        raise ResultsError(f"{path}: not an experiment with an edited stack") from None
    texts = [yaml.safe_dump(plan, sort_keys=False) for plan in plans]
    said = [summary(BlockPlan.parse(text).actions) for text in texts]
    return "; then ".join(text for text in said if text) or "none"


def summary(actions: Sequence[Action]) -> str:
    """Actions in a few words: ``drop 2, 5; reuse 3 of 2``."""
    said = sorted((_words(action) for action in actions), key=lambda words: words[0])
    groups = groupby(said, key=lambda words: words[0])
    return "; ".join(f"{do} {', '.join(what for _, what in group)}" for do, group in groups)


def _words(action: Action) -> Tuple[str, str]:
    if isinstance(action, Drop):
        return "drop", str(action.block)
    if isinstance(action, ReuseAttention):
        return "reuse", f"{action.block} of {action.leader}"
    if isinstance(action, Share):
        return "share", f"{action.block} from {action.source}"
    if isinstance(action, LocalAttention):
        return "local", f"{action.block} within {action.window}"
    if isinstance(action, PruneHeads):
        return "prune heads", f"{action.block}: {' '.join(map(str, action.heads))}"
    assert isinstance(action, Mimic)
    first, last = action.blocks
    return "mimic", f"{first}–{last} ({action.kind}, {action.layers} × {action.hidden})"


def healing_of(arm: PathLike) -> str:
    """Updates and seconds of all stages of distillation, or "–"."""
    path = Path(arm) / "distill" / "history.json"
    if not path.is_file():
        return "–"
    last = [stage[-1] for stage in read_json(path).values()]
    updates, seconds = sum(e["updates"] for e in last), sum(e["seconds"] for e in last)
    return f"{updates} updates, {seconds:.0f} s"


def _wer(one: ModelDecodings, tag: str, name: str) -> str:
    return next((rate(d.wer[name]) for d in one.decodings if d.tag == tag), "–")


def _cost(model: str, measured: Dict[str, Any], lengths: Sequence[float]) -> List[str]:
    if model not in measured["models"]:
        raise ResultsError(f"benchmark.json: no model {model}")
    size = measured["models"][model]
    cells = [f"{size['encoder_parameters'] / 1e6:.3f}", f"{size['macs_per_second'] / 1e9:.3f}"]
    rows = {r["seconds"]: r for r in measured["speeds"] if r["model"] == model and r["batch"] == 1}
    for length in lengths:
        if length in rows:
            cells += [f"{rows[length]['encoder_rtf']:.5f}", f"{rows[length]['speed_ratio']:.2f}"]
        else:
            cells += ["–", "–"]
    return cells
