"""RESULTS.md: what a recipe found, each figure with its environment, scale and command."""

from __future__ import annotations

import platform
import subprocess
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, Optional, Sequence

from espnet_plugin.compat import versions
from espnet_plugin.report.analyses import Analysis
from espnet_plugin.report.analysis_tables import analysis_section
from espnet_plugin.report.decodings import ModelDecodings, ResultsError, decoding_table


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


def size_table(models: Sequence[str], benchmark: Dict[str, Any]) -> List[str]:
    """Per model: parameters and operations of its encoder.

    Raises:
        ResultsError: the benchmark has no such model.
    """
    lines = ["|model|encoder (M)|GMAC/s|", "|---|---|---|"]
    for model in models:
        if model not in benchmark["models"]:
            there = ", ".join(benchmark["models"])
            raise ResultsError(f"benchmark.json: no model {model} (it has {there})")
        size = benchmark["models"][model]
        parameters, macs = size["encoder_parameters"] / 1e6, size["macs_per_second"] / 1e9
        lines.append(f"|{model}|{parameters:.3f}|{macs:.3f}|")
    return lines


def results_page(
    models: Sequence[ModelDecodings],
    benchmark: Dict[str, Any],
    benchmark_table: str,
    analyses: Sequence[Analysis],
    curves: Sequence[Dict[str, Any]],
    plan: Optional[str],
    title: str,
    note: str,
    command: str,
    arms: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    """The page, markdown.

    Args:
        models: the models with their decodings.
        benchmark: ``benchmark.json``; ``benchmark_table`` is its ``benchmark.md``.
        analyses: of any of the models.
        curves: contents of ``ranking.json``.
        plan: text of the block plan that the last model was made with.
        title: the heading.
        note: the scale (mini, subset or full) and what a reader must know.
        command: what makes these results.
        arms: heading -> lines of :func:`espnet_plugin.report.arms.arms_table`.
    """
    lines = [f"# {title}", "", note, "", f"Command: `{command}`", "", "## Environments", ""]
    lines += environment_lines()
    lines += ["", "## Summary", "", *decoding_table(models), ""]
    lines += [
        "WER in percent with its 95 % bootstrap interval over utterances; oracle: the least WER of "
        "any path of the lattices; density: arcs per frame; real-time factors, on "
        f"{benchmark['environment']['threads']} threads, and density of the first set. Methods "
        "without times of encoder and search work on the lattices of hlg.",
        "",
        *size_table([one.model for one in models], benchmark),
        "",
        f"GMAC per second of speech at {benchmark['macs_seconds']:g} s.",
        "",
    ]
    for heading, table in arms.items():
        lines += [f"## {heading}", "", *table, ""]
    for one in models:
        lines += [f"## {one.model}", "", one.tables.rstrip(), ""]
    lines += ["## Benchmark", "", benchmark_table.rstrip(), ""]
    for analysis in analyses:
        lines += analysis_section(analysis, curves)
    if plan is not None:
        lines += ["## Block plan", "", "```yaml", plan.rstrip(), "```", ""]
    return "\n".join(lines)
