"""attention.json: where its figures come from, and how to read it.

The schema is documented in docs/analysis.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

from espnet_plugin.atomic import PathLike

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


def load_report(path: PathLike) -> Dict[str, Any]:
    """Read attention.json, or that of an analysis directory.

    Raises:
        AnalysisError: not there, no JSON, or of another schema.
    """
    path = Path(path)
    path = path / "attention.json" if path.is_dir() else path
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AnalysisError(
            f"{path}: not there; measure it with espnet_plugin.bin.analyze --measures attention"
        ) from None
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
