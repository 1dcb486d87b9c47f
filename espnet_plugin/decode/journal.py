"""What a decoding job has done so far, so that a job that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

from espnet_plugin.atomic import PathLike, atomic_open


class Journal:
    """Lines of JSON in ``path``; the first one identifies the job.

    Beside it, ``<path>.now`` names the batch at work, so that whoever sees the process die
    knows at what (:func:`note_death`).

    Args:
        path: the file; it is begun anew unless it was begun for the same ``job``.
        job: everything that the results depend on.
    """

    def __init__(self, path: PathLike, job: Any) -> None:
        self.path = Path(path)
        self.now = _now(self.path)
        digest = hashlib.sha256(json.dumps(job, sort_keys=True, default=str).encode()).hexdigest()
        header = {"job": digest}
        entries = _read(self.path)
        same = bool(entries) and entries[0] == header
        self.entries: List[Dict[str, Any]] = entries[1:] if same else []
        with atomic_open(self.path) as stream:  # also cuts off a torn last line
            for entry in [header, *self.entries]:
                stream.write(json.dumps(entry) + "\n")
        self.now.unlink(missing_ok=True)

    def begin(self, names: Sequence[str], narrowed: int) -> None:
        """Say what is worked at from now on: utterances, and how often beams were halved."""
        self.now.write_text(json.dumps({"died": list(names), "narrowed": narrowed}))

    def add(self, entry: Dict[str, Any]) -> None:
        """Append one entry and flush it."""
        self.entries.append(entry)
        _append(self.path, entry)
        self.now.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the file: the job is done."""
        self.path.unlink()
        self.now.unlink(missing_ok=True)


def read_entries(path: PathLike) -> List[Dict[str, Any]]:
    """What a journal holds so far; nothing where there is none. The job may be at work."""
    return _read(Path(path))[1:]


def note_death(path: PathLike, cause: str) -> bool:
    """Add to a journal that the process died at the batch at work; False if there was none."""
    path = Path(path)
    try:
        entry = json.loads(_now(path).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False
    _append(path, {**entry, "cause": cause})
    _now(path).unlink()
    return True


def _read(path: Path) -> List[Dict[str, Any]]:
    entries: List[Dict[str, Any]] = []
    if not path.is_file():
        return entries
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return entries


def _append(path: Path, entry: Dict[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")


def _now(path: Path) -> Path:
    return path.with_name(path.name + ".now")
