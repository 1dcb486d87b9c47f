"""The files that a decoding job leaves: ESPnet's results, and its times and failures."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch

from espnet_plugin.atomic import PathLike, atomic_open, write_json
from espnet_plugin.decode.hypothesis import Hypothesis
from espnet_plugin.decode.store import LatticeWriter
from espnet_plugin.stacks.batches import DataError

logger = logging.getLogger(__name__)

JOURNAL = ".decoding.jsonl"
"""In the output directory while a job is at work."""
PARTS = ("encoder", "search", "rescoring")
"""The parts of a decoding whose times are told apart."""


def finish(
    entries: Sequence[Dict[str, Any]],
    names: Sequence[str],
    output_dir: PathLike,
    lattices: Optional[LatticeWriter],
    method: str,
    device: str,
) -> Dict[str, Any]:
    """Write what the journals of a decoding hold, and log the failures, last of all.

    Returns:
        The content of ``rtf.json``.

    Raises:
        DataError: no utterance could be read; nothing is written.
    """
    output_dir = Path(output_dir)
    results: Dict[str, List[Any]] = {}
    entries = [entry for entry in entries if "results" in entry]
    for entry in entries:
        results.update(entry["results"])
        if lattices is not None:
            places = {n: tuple(p) if p else None for n, p in entry["lattices"].items()}
            lattices.index.update(places)
    summary = _summary(entries, len(names), method, device)
    unread = {n: reason for entry in entries for n, reason in entry["unread"].items()}
    if names and len(unread) == len(names):
        raise DataError(f"no utterance could be read; {names[0]}: {unread[names[0]]}")
    if lattices is not None:
        lattices.index = {name: lattices.index.get(name) for name in names}
        lattices.close()
    write_results(output_dir / "1best_recog", {n: Hypothesis(*results[n]) for n in names})
    write_json(output_dir / "rtf.json", summary)
    for name, reason in summary["failed"].items():
        logger.error("%s: failed, its hypothesis is empty: %s", name, reason)
    return summary


def write_results(directory: PathLike, hypotheses: Dict[str, Hypothesis]) -> None:
    """Write ``text``, ``token``, ``token_int`` and ``score`` in the form of ESPnet's decoders."""
    directory = Path(directory)
    columns: Dict[str, List[Tuple[str, str]]] = {"token": [], "token_int": [], "score": []}
    for name, hypothesis in hypotheses.items():
        columns["token"].append((name, " ".join(hypothesis.tokens)))
        columns["token_int"].append((name, " ".join(map(str, hypothesis.token_ids))))
        columns["score"].append((name, str(hypothesis.score)))
        if hypothesis.text is not None:
            columns.setdefault("text", []).append((name, hypothesis.text))
    for file, lines in columns.items():
        with atomic_open(directory / file) as stream:
            stream.writelines(f"{name} {value}\n" for name, value in lines)


def _summary(entries: List[Dict[str, Any]], count: int, method: str, device: str) -> Dict[str, Any]:
    known = all(entry["audio"] is not None for entry in entries)
    audio = sum(entry["audio"] for entry in entries) if known else None
    times = {part: sum(entry[part] for entry in entries) for part in PARTS}

    def factor(seconds: float) -> Optional[float]:
        return round(seconds / audio, 6) if audio else None

    return {
        "utterances": count,
        "audio_seconds": audio,
        **{f"{part}_seconds": round(seconds, 4) for part, seconds in times.items()},
        **{f"{part}_rtf": factor(seconds) for part, seconds in times.items()},
        "rtf": factor(sum(times.values())),
        "method": method,
        "device": device,
        "threads": torch.get_num_threads(),
        "failed": {n: reason for entry in entries for n, reason in entry["failed"].items()},
    }
