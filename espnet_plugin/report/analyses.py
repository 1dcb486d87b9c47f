"""The files of an analysis directory, as the report and its figures read them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import yaml

from espnet_plugin.atomic import PathLike
from espnet_plugin.report import curves as curve_files
from espnet_plugin.surgery.plan import BlockPlan, PlanError

SCHEMAS = {
    "attention": "2",
    "map_similarity": "1",
    "patterns": "1",
    "relation": "1",
    "phoneme_attention": "1",
    "segmentation": "1",
    "similarity": "1",
    "phone_probe": "1",
    "speaker_probe": "1",
    "word_probe": "1",
    "examples": "1",
}
"""The measures that a report shows, and the version of each one's file."""


class ReportError(ValueError):
    """A file that a report cannot be made of; the message is one line."""


@dataclass
class Analysis:
    """What one directory holds.

    Attributes:
        name: to show, different from those of the other models in the report.
        folder: where it is.
        results: measure -> content of its JSON; only those that are there.
    """

    name: str
    folder: Path
    results: Dict[str, Dict[str, Any]]
    _arrays: Dict[str, Dict[str, np.ndarray]] = field(default_factory=dict)

    @property
    def first(self) -> Dict[str, Any]:
        """Any of the results: all name the same model, data and environment."""
        return next(iter(self.results.values()))

    @property
    def model(self) -> Dict[str, Any]:
        return self.first["model"]

    @property
    def data(self) -> Dict[str, Any]:
        return self.first["data"]

    @property
    def blocks(self) -> int:
        return int(self.model["blocks"])

    @property
    def groups(self) -> List[List[int]]:
        """Blocks that use one map, the one that it comes from first."""
        attention = self.results.get("attention", {})
        groups = self.model.get("groups") or attention.get("groups")
        return groups if groups is not None else [[block] for block in range(self.blocks)]

    @property
    def label(self) -> str:
        """The name for files."""
        return re.sub(r"[^A-Za-z0-9.-]+", "_", self.name).strip("_")

    @property
    def scale(self) -> str:
        """How much speech the figures come from."""
        data = self.data
        said = f"{data['utterances']} utterances"
        if data.get("seconds"):
            said += f", {data['seconds'] / 60:.1f} minutes"
        return f"{said} of {Path(data['directory']).name}"

    def arrays(self, measure: str) -> Dict[str, np.ndarray]:
        """The content of the measure's npz.

        Raises:
            ReportError: it is not there or cannot be read.
        """
        if measure not in self._arrays:
            path = self.folder / f"{measure}.npz"
            try:
                with np.load(path, allow_pickle=False) as stored:
                    self._arrays[measure] = dict(stored)
            except (OSError, ValueError) as error:
                raise ReportError(f"{path}: cannot read it: {error}; analyse anew") from None
        return self._arrays[measure]


@dataclass
class Extras:
    """What a report may show beside the analyses; each may be absent."""

    plan: Optional[BlockPlan] = None
    diagnosis: Optional[Dict[str, Any]] = None
    curves: List[Dict[str, Any]] = field(default_factory=list)
    benchmark: Optional[Dict[str, Any]] = None


def scales(analyses: Sequence[Analysis]) -> str:
    """How much speech the figures of several models come from; by name where it differs."""
    said = {one.name: one.scale for one in analyses}
    if len(set(said.values())) == 1:
        return analyses[0].scale
    return "; ".join(f"{name}: {scale}" for name, scale in said.items())


def check_extras(analyses: Sequence[Analysis], extras: Extras) -> None:
    """Plan and diagnosis must be of the first model, rankings of any of them.

    Raises:
        ReportError: one that is of another model; says of which.
    """
    first = analyses[0]
    family, blocks = first.model.get("family"), first.blocks
    if extras.plan is not None:
        stack = extras.plan.stack
        if (stack.family, stack.blocks) != (family, blocks):
            raise ReportError(
                f"the plan is for {stack.family} with {stack.blocks} blocks, and {first.name} is "
                f"{family} with {blocks}"
            )
    if extras.diagnosis is not None:
        theirs = extras.diagnosis["family"], extras.diagnosis["stack_blocks"]
        if theirs != (family, blocks):
            raise ReportError(
                f"the diagnosis is of {theirs[0]} with {theirs[1]} blocks, and {first.name} is "
                f"{family} with {blocks}"
            )
    known = {one.model.get("sha256") for one in analyses}
    for content in extras.curves:
        if "orders" in content and content["model"].get("sha256") not in known:
            raise ReportError(
                f"a ranking is of {content['model']['directory']} with other parameters than those "
                "of the analysed models; rank_heads anew, or leave it out"
            )


def read_analyses(
    folders: Sequence[PathLike], names: Optional[Sequence[str]] = None
) -> List[Analysis]:
    """Read one analysis directory for each model.

    Args:
        folders: what ``bin.analyze`` wrote.
        names: of the models; those of their directories otherwise.

    Raises:
        ReportError: a directory without any measure, a file of another schema; as many names as
            there are directories are not given; a name twice.
    """
    if names is not None and len(names) != len(folders):
        raise ReportError(f"{len(names)} names for {len(folders)} analyses")
    found = []
    for n, folder in enumerate(folders):
        results = {}
        for measure, version in SCHEMAS.items():
            path = Path(folder) / f"{measure}.json"
            if path.is_file():
                results[measure] = read_schema(path, f"espnet_plugin/{measure}/{version}")
        if not results:
            raise ReportError(f"{folder}: no analysis; espnet_plugin.bin.analyze writes one")
        model = next(iter(results.values()))["model"]
        name = names[n] if names is not None else Path(model["directory"]).name
        found.append(Analysis(name, Path(folder), results))
    if names is not None and len(set(names)) < len(names):
        raise ReportError("two models have one name")
    for one in found:
        if sum(other.name == one.name for other in found) > 1:
            one.name = str(one.folder)
    return found


def read_schema(path: PathLike, *schemas: str) -> Dict[str, Any]:
    """Read a JSON file of one of the schemas.

    Raises:
        ReportError: not there, no JSON or something else.
    """
    content = _read_json(path)
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema not in schemas:
        raise ReportError(f"{path}: has schema {schema!r}, not {' or '.join(schemas)}")
    return content


def _read_json(path: PathLike) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: cannot read it: {error.strerror}") from None
    except ValueError as error:
        raise ReportError(f"{path}: not JSON: {error}") from None


def read_plan(path: PathLike) -> BlockPlan:
    """Read a block plan.

    Raises:
        ReportError: one line that names file and line.
    """
    try:
        return BlockPlan.load(path)
    except (PlanError, OSError, yaml.YAMLError) as error:
        raise ReportError(str(error)) from None


def read_extras(
    plan: Optional[PathLike],
    diagnosis: Optional[PathLike],
    curves: Sequence[PathLike],
    benchmark: Optional[PathLike],
) -> Extras:
    """Read what a report may show beside the analyses.

    Raises:
        ReportError: a file that is not there or something else.
    """
    return Extras(
        None if plan is None else read_plan(plan),
        None if diagnosis is None else read_schema(diagnosis, "espnet_plugin/diagnosis/1"),
        [
            _read_known(path, curve_files.known, "curves of heads, blocks or budgets")
            for path in curves
        ],
        None if benchmark is None else _read_known(benchmark, _is_benchmark, "a benchmark"),
    )


def _is_benchmark(content: Any) -> bool:
    return isinstance(content, dict) and {"models", "speeds", "environment"} <= content.keys()


def _read_known(path: PathLike, known: Callable[[Any], bool], what: str) -> Dict[str, Any]:
    content = _read_json(path)
    if not known(content):
        raise ReportError(f"{path}: does not hold {what}")
    return content
