"""What is lost as heads and blocks are taken away, and what is gained: curves and benchmarks."""

from __future__ import annotations

from html import escape
from typing import Any, Dict, List, Optional, Sequence

from espnet_plugin.report.analyses import Analysis, Extras
from espnet_plugin.report.curves import MEASURES, ORDERS, RANKING, charts
from espnet_plugin.report.html.markup import Figures, Section, mark_html, table


def section(analyses: Sequence[Analysis], extras: Extras, figures: Figures) -> Optional[Section]:
    """The section; None where there are neither curves nor a benchmark."""
    html = ""
    for number, content in enumerate(extras.curves):
        for chart in charts(content, number):
            html += figures.add(*chart)
        if content.get("schema") == RANKING:
            html += _summary(content) + _categories(content) + _refinement(content)
    if extras.benchmark is not None:
        html += _benchmark(extras.benchmark)
    return Section("curves", "Curves and cost", html) if html else None


def _interval(value: float, interval: Sequence[float]) -> str:
    return f"{value:+.2f} ({interval[0]:+.2f} to {interval[1]:+.2f})".replace("-", "−")


def _summary(content: Dict[str, Any]) -> str:
    names = list(content["unedited"])
    rows = []
    for order, by_measure in content["summary"].items():
        row: List[Any] = [ORDERS.get(order, order)]
        for name in names:
            found = by_measure[name]
            row.append(_interval(found["mean_rise"], found["interval_95"]))
            above = found.get("above_random")
            limits = found.get("above_random_interval_95")
            row.append(None if above is None else _interval(above, limits))
        rows.append(row)
    head = ["order"]
    for name in names:
        title = MEASURES.get(name, name)
        head += [f"{title}: mean rise", "above orders at random"]
    caption = "Mean rise of the error rate along each curve, points of percent (95 %) [I]"
    return table(caption, head, rows)


def _categories(content: Dict[str, Any]) -> str:
    if not content.get("categories"):
        return ""
    names = list(content["unedited"])
    rows = []
    for category, found in content["categories"].items():
        together = found["equal"] or {"heads": [], "measures": {}}
        row: List[Any] = [category, found["heads"], len(together["heads"])]
        for name in names:
            whole, one = together["measures"].get(name), (found["alone"] or {}).get(name)
            row.append(None if whole is None else _interval(whole["rise"], whole["interval_95"]))
            row.append(None if one is None else _interval(one["mean_rise"], one["interval_95"]))
        rows.append(row)
    head = ["category", "heads", "pruned together"]
    for name in names:
        head += [f"{MEASURES.get(name, name)}: these together", "each head alone, mean"]
    return table("Rise of the error rate by category, points of percent (95 %)", head, rows)


def _refinement(content: Dict[str, Any]) -> str:
    found = content.get("refinement")
    if not found:
        return ""
    return f"<h3>Refinement {mark_html('I')}</h3><p>{escape(found['because'])}</p>"


def _benchmark(benchmark: Dict[str, Any]) -> str:
    lengths = sorted({row["seconds"] for row in benchmark["speeds"]})
    head = ["model", "encoder (M)", "GMAC per second"]
    for length in lengths:
        head += [f"real-time factor, {length:g} s", f"times as fast, {length:g} s"]
    rows = []
    for name, size in benchmark["models"].items():
        row: List[Any] = [name, size["encoder_parameters"] / 1e6, size["macs_per_second"] / 1e9]
        of = {
            r["seconds"]: r for r in benchmark["speeds"] if r["model"] == name and r["batch"] == 1
        }
        for length in lengths:
            one = of.get(length)
            row += [None, None] if one is None else [one["encoder_rtf"], one["speed_ratio"]]
        rows.append(row)
    threads = benchmark["environment"]["threads"]
    caption = f"Size and speed, one utterance at a time on {threads} threads, against the first row"
    return f"<h3>Cost</h3>{table(caption, head, rows)}"
