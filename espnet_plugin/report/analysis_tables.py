"""What analyses found, as Markdown for RESULTS.md."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from espnet_plugin.report.analyses import Analysis
from espnet_plugin.report.findings import findings, rankings_of, table

CATEGORIES = ("diagonal", "vertical", "global")


def analysis_section(analysis: Analysis, curves: Sequence[Dict[str, Any]] = ()) -> List[str]:
    """Heads of each block, what pruning them costs, and the papers' findings.

    Args:
        analysis: of one model.
        curves: contents of ``ranking.json``; those of other models are passed over.
    """
    lines = [f"## Attention of {analysis.name}", "", f"On {analysis.scale}.", ""]
    if "attention" in analysis.results:
        lines += [
            "G, V and D [P]: Yang et al. 2020; CAD [I]: our discrete form of Shim et al. 2022. "
            "Means over the heads of a block; categories count heads.",
            "",
            *category_table(analysis.results["attention"]),
            "",
        ]
    rankings = rankings_of(analysis, curves)
    for ranking in rankings:
        lines += [*importance_table(ranking), ""]
    found = findings(analysis, rankings)
    if found:
        lines += [
            "What the papers found, and this model. Brackets: 95 % bootstrap intervals over "
            "utterances; how a sentence becomes a difference is our reading [I] "
            "(docs/analysis.md).",
            "",
            *table(found),
            "",
        ]
    return lines


def category_table(attention: Dict[str, Any]) -> List[str]:
    """Heads of each block by category, and the block's mean measures."""
    measures = ["globalness", "verticality", "diagonality", "cumulative_diagonality"]
    lines = ["|block|diagonal|vertical|global|G|V|D|CAD|", "|---|---|---|---|---|---|---|---|"]
    for block in attention["blocks"]:
        heads = block["heads"]
        counts = [
            str(sum(head["category"] == category for head in heads)) for category in CATEGORIES
        ]
        means = [f"{sum(head[m] for head in heads) / len(heads):.3f}" for m in measures]
        lines.append("|" + "|".join([str(block["block"]), *counts, *means]) + "|")
    return lines


def importance_table(ranking: Dict[str, Any]) -> List[str]:
    """What pruning in each order costs: the mean rise of the error rate over the curve."""
    measures = list(ranking["unedited"])
    data = ranking["data"]
    lines = [
        "Heads pruned by multiplying their maps with 0, nothing retrained, on "
        f"{data['utterances']} utterances; mean rise of the error rate (points) over 1/6 to 6/6 "
        "of all heads [P: Yang et al. 2020; orders at random and intervals are ours]. Unpruned: "
        + ", ".join(f"{name} {ranking['unedited'][name]['rate']:.2f}" for name in measures)
        + ".",
        "",
        f"|order|{'|'.join(measures)}|",
        f"|---|{'---|' * len(measures)}",
    ]
    for order, rises in ranking["summary"].items():
        cells = []
        for name in measures:
            low, high = rises[name]["interval_95"]
            cells.append(f"{rises[name]['mean_rise']:.2f} ({low:.2f} to {high:.2f})")
        lines.append(f"|{order}|{'|'.join(cells)}|")
    return lines
