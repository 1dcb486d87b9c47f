"""Decodings of a model side by side: WER, lattice oracle, density and real-time factors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from espnet_plugin.atomic import PathLike


class ResultsError(ValueError):
    """Something that the results are made of is missing; the message is one line."""


@dataclass(frozen=True)
class Decoding:
    """All sets decoded by one model with one configuration.

    Attributes:
        tag: name of the decoding, a folder below the model's.
        method: what ``--method`` of ``bin.asr_inference_k2`` was.
        wer: set -> counts, rate and interval, as ``bin.score`` writes them.
        factors: set -> ``rtf.json``.
        lattices: set -> ``density`` and ``oracle_wer`` of the stored lattices, as ``bin.lattice``
            writes them; empty for a set without.
    """

    tag: str
    method: str
    wer: Dict[str, Dict[str, Any]]
    factors: Dict[str, Dict[str, Any]]
    lattices: Dict[str, Dict[str, float]]


@dataclass(frozen=True)
class ModelDecodings:
    """One model's decodings, and their tables in ESPnet's form (markdown)."""

    model: str
    decodings: List[Decoding]
    tables: str


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


def read_decodings(exp_dir: PathLike, tags: Sequence[str]) -> ModelDecodings:
    """What decoding, ``bin.score`` and ``bin.lattice`` left below ``exp_dir``.

    ``exp_dir/score`` holds the scores of sets named ``<tag>/<set>``. A tag that is not among them
    is left out: not every method applies to every model.

    Raises:
        ResultsError: if none of the tags was scored, or a file is not there.
    """
    folder = Path(exp_dir)
    wer = read_json(folder / "score" / "results.json")["wer"]
    decodings = []
    for tag in tags:
        sets = {n.split("/", 1)[1]: one for n, one in wer.items() if n.startswith(f"{tag}/")}
        if not sets:
            continue
        factors = {name: read_json(folder / tag / name / "rtf.json") for name in sets}
        lattices = {name: _of_lattices(folder / tag / name) for name in sets}
        method = next(iter(factors.values()))["method"]
        decodings.append(Decoding(tag, method, sets, factors, lattices))
    if not decodings:
        raise ResultsError(f"{folder}/score/results.json: no scores of {', '.join(tags)}")
    tables = (folder / "score" / "results.md").read_text(encoding="utf-8")
    return ModelDecodings(folder.name, decodings, tables)


def _of_lattices(folder: Path) -> Dict[str, float]:
    if not (folder / "lattices").is_dir():
        return {}
    return {
        "density": read_json(folder / "density.json")["total"]["density"],
        "oracle_wer": read_json(folder / "oracle.json")["total"]["oracle_wer"],
    }


def decoding_table(models: Sequence[ModelDecodings]) -> List[str]:
    """A row per model and method: WER and oracle of every set, density and times of the first."""
    sets = list(models[0].decodings[0].wer)
    head = ["model", "method"]
    for name in sets:
        head += [f"WER {name}", f"oracle {name}"]
    head += ["density", "RTF encoder", "RTF search", "RTF rescoring"]
    lines = ["|" + "|".join(head) + "|", "|" + "---|" * len(head)]
    for model in models:
        for one in model.decodings:
            cells = [model.model, one.method]
            for name in sets:
                cells += [rate(one.wer[name]), _number(one.lattices[name].get("oracle_wer"), 2)]
            cells.append(_number(one.lattices[sets[0]].get("density"), 1))
            first = one.factors[sets[0]]
            for part in ("encoder", "search", "rescoring"):
                ran = one.method == "greedy" or first[f"{part}_rtf"] != 0
                cells.append(_number(first[f"{part}_rtf"] if ran else None, 4))
            lines.append("|" + "|".join(cells) + "|")
    return lines


def _number(value: Optional[float], digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def rate(score: Dict[str, Any]) -> str:
    """A WER with its interval, or "–" where there was nothing to recognise."""
    if score["error_rate"] is None:
        return "–"
    if score["interval_95"] is None:
        return f"{score['error_rate']:.2f}"
    low, high = score["interval_95"]
    return f"{score['error_rate']:.2f} ({low:.2f}–{high:.2f})"
