"""The files of an analysis: NAME.json, NAME.npz and tables for each measure, and an index.

The schema is documented in docs/analysis.md.
"""

from __future__ import annotations

import csv
import json
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from espnet_plugin.analysis.maps.attention_report import SCHEMA, AnalysisError
from espnet_plugin.analysis.suite.measure import Measure
from espnet_plugin.atomic import PathLike, atomic_open, atomic_path, write_json
from espnet_plugin.compat import versions
from espnet_plugin.version import __version__

INDEX = "analysis.json"
INDEX_SCHEMA = "espnet_plugin/analysis/1"
SCHEMAS = {"attention": SCHEMA}
"""Schemas of measures that are not ``espnet_plugin/NAME/1``."""


def environment() -> Dict[str, Any]:
    """When and with which versions: what each file says."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "espnet_plugin": __version__,
        **versions(),
    }


def write_results(
    out: PathLike,
    measures: Sequence[Measure],
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    options: Mapping[str, Any],
) -> List[Path]:
    """Write what measures have found.

    Measures that were written before stay where they are of the same model and data; those of
    others are removed, so that a directory holds one analysis.

    Args:
        out: the directory.
        measures: finished.
        model: :meth:`espnet_plugin.analysis.suite.subject.Subject.describe`.
        data: "directory", "sha256" and whatever else is to be known about it.
        options: what was measured how.

    Returns:
        The JSON files.

    Raises:
        ValueError: a measure with nothing to tell, or a value that is not JSON; names it.
    """
    out = Path(out)
    head = {"model": dict(model), "data": dict(data), "environment": environment()}
    found = {measure.name: _ask(measure) for measure in measures}
    if "attention" in found and "map_similarity" in found:
        result = found["attention"][0]
        result["similarity"] = found["map_similarity"][0]["similarity"]
    index = _begin(out, head)
    written = []
    for name, (result, arrays, tables) in found.items():
        schema = SCHEMAS.get(name, f"espnet_plugin/{name}/1")
        content = {"schema": schema, **head, "options": dict(options), **result}
        files: Dict[str, Any] = {"json": f"{name}.json", "npz": None, "tables": {}}
        written.append(out / files["json"])
        write_json(written[-1], content)
        if arrays:
            files["npz"] = f"{name}.npz"
            _write_npz(out / files["npz"], arrays)
        for table, rows in tables.items():
            full = f"{name}.{table}" if table else name
            files["tables"][full] = f"tables/{full}.csv"
            _write_csv(out / files["tables"][full], rows)
        _remove(out, index["measures"].get(name), files)
        index["measures"][name] = files
    write_json(out / INDEX, index)
    return written


def check_directory(out: PathLike, model: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """That ``out`` is free, or holds an analysis of this model and data, to be added to.

    Raises:
        AnalysisError: it holds one of others; says what is there.
    """
    if not (Path(out) / INDEX).is_file():
        return
    index = load_index(out)
    for part, ours in (("model", model), ("data", data)):
        theirs = index[part]
        if index["measures"] and theirs["sha256"] != ours["sha256"]:
            raise AnalysisError(
                f"{out}: holds {', '.join(index['measures'])} of another {part} "
                f"({theirs['directory']}); give another --out, or --overwrite to remove them"
            )


def load_index(out: PathLike) -> Dict[str, Any]:
    """Read analysis.json.

    Raises:
        AnalysisError: not there, no JSON, or of another schema.
    """
    path = Path(out) / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnalysisError(f"{path}: cannot read the analysis: {error.strerror}") from None
    except ValueError as error:
        raise AnalysisError(f"{path}: not JSON: {error}") from None
    if not isinstance(index, dict) or index.get("schema") != INDEX_SCHEMA:
        raise AnalysisError(f"{path}: not the index of an analysis of this version")
    return index


def _ask(measure: Measure) -> Any:
    try:
        result = measure.result()
        json.dumps(result, allow_nan=False)
        return result, measure.arrays(), measure.tables()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{measure.name}: {error}") from error


def _begin(out: Path, head: Mapping[str, Any]) -> Dict[str, Any]:
    """The index to add to: the one there, if it is of the same model and data."""
    try:
        index = load_index(out)
    except AnalysisError:
        index = {"measures": {}}
    for part in ("model", "data"):
        if index["measures"] and index[part]["sha256"] != head[part]["sha256"]:
            for files in index["measures"].values():
                _remove(out, files, {})
            index = {"measures": {}}
    return {"schema": INDEX_SCHEMA, **head, "measures": index["measures"]}


def _remove(out: Path, old: Any, new: Mapping[str, Any]) -> None:
    """Remove the files in ``old`` that are not in ``new``."""
    if old is not None:
        gone = _names(old) - _names(new)
        for name in gone:
            (out / name).unlink(missing_ok=True)


def _names(files: Mapping[str, Any]) -> Any:
    named = {files.get("json"), files.get("npz"), *files.get("tables", {}).values()}
    return named - {None}


def _write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def _write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with atomic_open(path) as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
