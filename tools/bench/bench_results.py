"""What every benchmark here reports: its environment, tables in Markdown, a file of results."""

from __future__ import annotations

import argparse
import os
import platform
import resource
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

import torch

from espnet_plugin.atomic import write_json

PACKAGES = ("torch", "espnet", "k2", "flashlight-text", "kaldilm", "sentencepiece", "lhotse")


def environment() -> Dict[str, Any]:
    """Versions, processor, cores that this process may use, and torch's threads."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "absent"
    return {
        "python": platform.python_version(),
        **packages,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
    }


def use_cores(count: int) -> None:
    """Keep this process, k2's and torch's threads included, on ``count`` cores."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[:count])
    torch.set_num_threads(min(count, len(allowed)))


def peak_gigabytes() -> float:
    """The most memory that this process has had resident so far (GiB; Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as a table in Markdown; numbers with four significant digits."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names)] + [[_cell(row[n]) for n in names] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def add_output_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", help="file for the results and the environment (JSON)")


def write_results(output: Optional[str], results: Mapping[str, Any]) -> None:
    """Write ``results`` and the environment to ``output``, if one is named."""
    if output is not None:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        write_json(output, {"environment": environment(), **results})


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
