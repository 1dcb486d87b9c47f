"""The result of an attention analysis as plain values: what attention.json holds.

The schema is documented in docs/analysis.md.
"""

from __future__ import annotations

import json
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional

from espnet_plugin.analysis.attention import MEASURES
from espnet_plugin.analysis.categories import categorise
from espnet_plugin.analysis.run import AttentionPass
from espnet_plugin.atomic import PathLike
from espnet_plugin.compat import versions
from espnet_plugin.stacks.experiment import Experiment
from espnet_plugin.stacks.hooks import stack_in
from espnet_plugin.version import __version__

SCHEMA = "espnet_plugin/attention/2"

_YANG = "Yang, Liu, Lee, Interspeech 2020, arXiv 2006.03265"
SOURCES: Dict[str, Dict[str, str]] = {
    "globalness": {"mark": "P", "unit": "nats", "source": _YANG},
    "verticality": {"mark": "P", "unit": "nats", "source": _YANG},
    "diagonality": {"mark": "P", "unit": "1", "source": _YANG},
    "cumulative_diagonality": {
        "mark": "I",
        "unit": "1",
        "source": "Shim, Choi, Sung, ICLR 2022; our discrete form",
    },
    "maximum_weight": {
        "mark": "I",
        "unit": "1",
        "source": f"{_YANG} rank by it; the mean over queries after Voita et al., ACL 2019, "
        "arXiv 1905.09418",
    },
    "category": {"mark": "P", "unit": "", "source": f"{_YANG}; the order of ties is ours [I]"},
    "similarity": {
        "mark": "I",
        "unit": "1",
        "source": "1 − Jensen–Shannon divergence / ln 2, mean over rows, heads and utterances; "
        "after Xiao et al. 2019, arXiv 1906.11024",
    },
}
"""Where each figure comes from. Marks: P read in the paper, I our inference."""


class AnalysisError(ValueError):
    """An analysis file that cannot be used; the message is one line."""


def build_report(
    experiment: Experiment, data_dir: PathLike, rate: int, done: AttentionPass
) -> Dict[str, Any]:
    """The content of attention.json.

    Args:
        experiment: the model.
        data_dir: the Kaldi directory.
        rate: samples per second of its recordings.
        done: the finished pass.
    """
    encoder = experiment.model.encoder
    return {
        "schema": SCHEMA,
        "model": {
            "directory": str(experiment.directory),
            "checkpoint": experiment.checkpoint.resolve().name,
            "encoder": experiment.args.encoder,
            "family": _family(experiment),
            "blocks": sum(map(len, done.groups)),
            "parameters": sum(p.numel() for p in experiment.model.parameters()),
            "encoder_parameters": sum(p.numel() for p in encoder.parameters()),
        },
        "data": {
            "directory": str(data_dir),
            "utterances": done.measures.utterances,
            "seconds": done.samples / rate,
            "frames": done.frames,
        },
        "environment": {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "espnet_plugin": __version__,
            **versions(),
        },
        "sources": SOURCES,
        "groups": done.groups,
        "blocks": _blocks(done),
        "similarity": None if done.similarity is None else done.similarity_matrix(),
    }


def _family(experiment: Experiment) -> str:
    """As in block plans."""
    stack = stack_in(experiment.model.encoder)
    if stack is not None:
        return stack.family
    return "transformer" if experiment.args.encoder == "transformer" else "conformer"


def _blocks(done: AttentionPass) -> List[Dict[str, Any]]:
    result = done.measures.result()
    leaders = [group[0] for group in done.groups]
    flat = {name: [float(v) for b in leaders for v in result[b][name]] for name in MEASURES}
    category = iter(categorise(flat))
    categories = {b: [next(category) for _ in result[b][MEASURES[0]]] for b in leaders}
    blocks: List[Dict[str, Any]] = []
    for group in done.groups:
        leader = group[0]
        for block in group:
            heads = [
                {
                    "head": head,
                    **{name: float(result[leader][name][head]) for name in MEASURES},
                    "category": category_of,
                }
                for head, category_of in enumerate(categories[leader])
            ]
            shared: Optional[int] = None if block == leader else leader
            blocks.append({"block": block, "shares_map_of": shared, "heads": heads})
    return blocks


def load_report(path: PathLike) -> Dict[str, Any]:
    """Read attention.json.

    Raises:
        AnalysisError: not there, no JSON, or of another schema.
    """
    path = Path(path)
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise AnalysisError(f"{path}: cannot read the analysis: {e.strerror}") from None
    except ValueError as e:
        raise AnalysisError(f"{path}: not JSON: {e}") from None
    schema = report.get("schema") if isinstance(report, dict) else None
    if schema != SCHEMA:
        raise AnalysisError(
            f"{path}: not an attention analysis of this version (schema {schema!r}, not "
            f"{SCHEMA!r}); write it anew with espnet_plugin.bin.analyze"
        )
    return report
