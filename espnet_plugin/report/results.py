"""RESULTS.md: what a recipe found, each figure with its environment, scale and command."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from espnet_plugin.atomic import PathLike
from espnet_plugin.compat import versions


class ResultsError(ValueError):
    """Something that the results are made of is missing; the message is one line."""


@dataclass(frozen=True)
class Decoding:
    """One model's decodings of all sets.

    Attributes:
        model: name of the experiment.
        sets: names of the sets, without the decoding's name.
        scores: unit ("wer", "cer", "ter") -> set -> counts and rates, as ``bin.score`` writes them.
        tables: the tables in ESPnet's form, markdown.
        factors: set -> ``rtf.json`` of the decoding.
    """

    model: str
    sets: List[str]
    scores: Dict[str, Dict[str, Dict[str, Any]]]
    tables: str
    factors: Dict[str, Dict[str, Any]]


def read_json(path: PathLike) -> Any:
    """Read a JSON file.

    Raises:
        ResultsError: if it is not there or no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{path}: not there; run the stage that writes it") from None
    except ValueError as error:
        raise ResultsError(f"{path}: not JSON: {error}") from None


def read_decoding(exp_dir: PathLike, tag: str) -> Decoding:
    """What ``bin.asr_inference_k2`` and ``bin.score`` left below ``exp_dir``/``tag``.

    Raises:
        ResultsError: if the scores or a real-time factor are not there.
    """
    folder = Path(exp_dir) / tag
    scores = read_json(folder / "score" / "results.json")
    named = {name: name.rsplit("/", 1)[-1] for name in next(iter(scores.values()))}
    return Decoding(
        model=Path(exp_dir).name,
        sets=list(named.values()),
        scores={u: {named[n]: v for n, v in of_set.items()} for u, of_set in scores.items()},
        tables=(folder / "score" / "results.md").read_text(encoding="utf-8"),
        factors={name: read_json(folder / name / "rtf.json") for name in named.values()},
    )


def environment_lines() -> List[str]:
    """The block of versions that ESPnet's results begin with."""
    found = versions()
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "not a checkout"
    lines = [f"- date: `{date.today().isoformat()}`", f"- python: `{platform.python_version()}`"]
    lines += [f"- {name}: `{version}`" for name, version in found.items()]
    return [*lines, f"- git: `{commit}`"]


def summary_table(decodings: Sequence[Decoding], benchmark: Dict[str, Any]) -> List[str]:
    """Per model: size, cost, WER with its 95 % interval and real-time factors.

    Raises:
        ResultsError: the benchmark has no such model.
    """
    sets = decodings[0].sets
    head = ["model", "encoder (M)", "GMAC/s"]
    head += [f"WER {name}" for name in sets] + ["RTF encoder", "RTF search"]
    lines = ["|" + "|".join(head) + "|", "|" + "---|" * len(head)]
    for decoding in decodings:
        if decoding.model not in benchmark["models"]:
            there = ", ".join(benchmark["models"])
            raise ResultsError(f"benchmark.json: no model {decoding.model} (it has {there})")
        size = benchmark["models"][decoding.model]
        cells = [decoding.model, f"{size['encoder_parameters'] / 1e6:.3f}"]
        cells.append(f"{size['macs_per_second'] / 1e9:.3f}")
        cells += [_rate(decoding.scores["wer"][name]) for name in sets]
        first = decoding.factors[sets[0]]
        factors = [first[key] for key in ("encoder_rtf", "search_rtf")]
        cells += ["–" if factor is None else f"{factor:.4f}" for factor in factors]
        lines.append("|" + "|".join(cells) + "|")
    return lines


def category_table(analysis: Dict[str, Any]) -> List[str]:
    """Heads of each block by category, and the block's mean measures."""
    measures = ["globalness", "verticality", "diagonality", "cumulative_diagonality"]
    lines = ["|block|diagonal|vertical|global|G|V|D|CAD|", "|---|---|---|---|---|---|---|---|"]
    for block in analysis["blocks"]:
        heads = block["heads"]
        counts = [
            str(sum(head["category"] == category for head in heads))
            for category in ("diagonal", "vertical", "global")
        ]
        means = [f"{sum(head[m] for head in heads) / len(heads):.3f}" for m in measures]
        lines.append("|" + "|".join([str(block["block"]), *counts, *means]) + "|")
    return lines


def results_page(
    decodings: Sequence[Decoding],
    benchmark: Dict[str, Any],
    benchmark_table: str,
    analysis: Dict[str, Any],
    plan: Optional[str],
    title: str,
    note: str,
    command: str,
) -> str:
    """The page, markdown.

    Args:
        decodings: one per model.
        benchmark: ``benchmark.json``; ``benchmark_table`` is its ``benchmark.md``.
        analysis: ``attention.json`` of the first model.
        plan: text of the block plan that the last model was made with.
        title: the heading.
        note: the scale (mini, subset or full) and what a reader must know.
        command: what makes these results.
    """
    data = analysis["data"]
    lines = [f"# {title}", "", note, "", f"Command: `{command}`", "", "## Environments", ""]
    lines += environment_lines()
    lines += ["", "## Summary", "", *summary_table(decodings, benchmark), ""]
    lines += [
        "WER in percent with its 95 % bootstrap interval over utterances; GMAC per second of "
        f"speech at {benchmark['macs_seconds']:g} s; real-time factors of the first set, "
        f"{benchmark['environment']['threads']} threads.",
        "",
    ]
    for decoding in decodings:
        lines += [f"## {decoding.model}", "", decoding.tables.rstrip(), ""]
    lines += ["## Benchmark", "", benchmark_table.rstrip(), ""]
    lines += [
        f"## Attention of {Path(analysis['model']['directory']).name}",
        "",
        f"{data['utterances']} utterances, {data['seconds'] / 60:.1f} minutes of "
        f"`{Path(data['directory']).name}`. G, V and D [P]: Yang et al. 2020; CAD [I]: our "
        "discrete form of Shim et al. 2022. Means over the heads of a block; categories count "
        "heads.",
        "",
        *category_table(analysis),
        "",
    ]
    if plan is not None:
        lines += ["## Block plan", "", "```yaml", plan.rstrip(), "```", ""]
    return "\n".join(lines)


def _rate(score: Dict[str, Any]) -> str:
    if score["error_rate"] is None:
        return "–"
    if score["interval_95"] is None:
        return f"{score['error_rate']:.2f}"
    low, high = score["interval_95"]
    return f"{score['error_rate']:.2f} ({low:.2f}–{high:.2f})"
