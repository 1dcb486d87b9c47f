"""What ranking and refining the heads of a model found: ``ranking.json`` and ``curves.csv``.

The schema is documented in docs/ranking.md.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from espnet_plugin.analysis.heads.ranking import pruned_counts
from espnet_plugin.analysis.heads.recognition import Errors
from espnet_plugin.analysis.maps.categories import CATEGORIES
from espnet_plugin.analysis.sums.resample import Pairs, Resampling, interval, rate
from espnet_plugin.surgery.head_masks import Head
from espnet_plugin.surgery.refinement import Variant

SCHEMA = "espnet_plugin/ranking/1"
RANDOM = "random "
"""Begins the names of orders at random."""
CONTRASTS = (
    ("diagonality", "verticality"),
    ("verticality", "globalness"),
    ("diagonality", "globalness"),
)
"""Pairs of orders of which the first should cost more."""


def point(errors: Errors, drawn: Resampling) -> Dict[str, Dict[str, Any]]:
    """Measure -> ``errors``, ``tokens``, ``rate`` (percent) and its ``interval_95``."""
    found = {}
    for name, pairs in errors.items():
        wrong, total = np.asarray(pairs, dtype=np.int64).sum(0).tolist()
        found[name] = {
            "errors": wrong,
            "tokens": total,
            "rate": rate(pairs),
            "interval_95": interval(drawn.rates(pairs)),
        }
    return found


def curves(
    found: Mapping[str, Sequence[Errors]], heads: int, parts: int, drawn: Resampling
) -> Dict[str, List[Dict[str, Any]]]:
    """Order -> points: ``pruned`` heads, their ``share``, ``measures`` (:func:`point`)."""
    counts = pruned_counts(heads, parts)
    return {
        name: [
            {"pruned": count, "share": count / heads, "measures": point(errors, drawn)}
            for count, errors in zip(counts, curve, strict=True)
        ]
        for name, curve in found.items()
    }


def spans(
    found: Mapping[str, Sequence[Errors]], limits: Sequence[Optional[int]], drawn: Resampling
) -> Dict[str, List[Dict[str, Any]]]:
    """``plain`` and ``renormalised`` -> points: ``span`` (null: no limit), ``measures``."""
    return {
        name: [
            {"span": limit, "measures": point(errors, drawn)}
            for limit, errors in zip(limits, curve, strict=True)
        ]
        for name, curve in found.items()
    }


def mean_rises(
    found: Mapping[str, Sequence[Errors]], drawn: Resampling
) -> Dict[str, Dict[str, Dict[str, Any]]]:
    """How much each order costs: the mean over a curve's points of the rise of the error rate.

    Args:
        found: order -> errors at each point, from none pruned on; orders at random are named
            :data:`RANDOM` and a number.

    Returns:
        Order -> measure -> ``mean_rise`` (points of percent, all points but the first), its
        ``interval_95``; and where there are orders at random ``above_random``, the mean rise less
        theirs, with ``above_random_interval_95``: pairs of draws.
    """
    rises = {
        order: {name: _rise([errors[name] for errors in curve], drawn) for name in curve[0]}
        for order, curve in found.items()
    }
    controls = [order for order in rises if order.startswith(RANDOM)]
    summary: Dict[str, Dict[str, Dict[str, Any]]] = {}
    for order, by_measure in rises.items():
        summary[order] = {}
        for name, (mean, draws) in by_measure.items():
            row: Dict[str, Any] = {"mean_rise": mean, "interval_95": interval(draws)}
            if controls:
                row["above_random"] = mean - float(np.mean([rises[c][name][0] for c in controls]))
                others = np.mean([rises[c][name][1] for c in controls], axis=0)
                row["above_random_interval_95"] = interval(draws - others)
            summary[order][name] = row
    return summary


def contrasts(found: Mapping[str, Sequence[Errors]], drawn: Resampling) -> List[Dict[str, Any]]:
    """What the paper found, as differences of the mean rises of pairs of orders.

    Returns:
        For pairs of :data:`CONTRASTS` that are there: ``more``, ``less`` (orders), ``measures``:
        measure -> ``difference`` of their mean rises, ``interval_95`` of pairs of draws.
    """
    result: List[Dict[str, Any]] = []
    for more, less in CONTRASTS:
        if more in found and less in found:
            measures = {}
            for name in found[more][0]:
                one, other = (
                    _rise([errors[name] for errors in found[order]], drawn)
                    for order in (more, less)
                )
                measures[name] = {
                    "difference": one[0] - other[0],
                    "interval_95": interval(one[1] - other[1]),
                }
            result.append({"more": more, "less": less, "measures": measures})
    return result


def _rise(curve: Sequence[Pairs], drawn: Resampling) -> Tuple[float, np.ndarray]:
    rates = [rate(pairs) for pairs in curve]
    draws = np.stack([drawn.rates(pairs) for pairs in curve])
    return float(np.mean(rates[1:])) - rates[0], draws[1:].mean(0) - draws[0]


def single(
    alone: Mapping[Head, Errors], unedited: Errors, drawn: Resampling
) -> Dict[Head, Dict[str, Dict[str, Any]]]:
    """Head -> measure -> ``rise`` of the error rate without it, with its ``interval_95``."""
    return {head: difference(errors, unedited, drawn) for head, errors in alone.items()}


def difference(errors: Errors, unedited: Errors, drawn: Resampling) -> Dict[str, Dict[str, Any]]:
    """Measure -> ``rise`` against the unedited model (points of percent), ``interval_95``."""
    found = {}
    for name, pairs in errors.items():
        draws = drawn.rates(pairs) - drawn.rates(unedited[name])
        found[name] = {"rise": rate(pairs) - rate(unedited[name]), "interval_95": interval(draws)}
    return found


def categories(
    measured: Mapping[Head, Mapping[str, Any]],
    alone: Mapping[Head, Errors],
    equal: Mapping[str, Tuple[Sequence[Head], Errors]],
    unedited: Errors,
    drawn: Resampling,
) -> Dict[str, Dict[str, Any]]:
    """What the heads of each category are worth.

    Args:
        measured: see :func:`espnet_plugin.analysis.heads.ranking.measured_heads`.
        alone: the errors with one head pruned, of each; may be empty.
        equal: category -> as many of its heads as of the others, and the errors without them.

    Returns:
        Category -> ``heads``, how many there are; ``alone``: measure -> ``mean_rise`` over its
        heads, each pruned alone (null where this was not measured); ``equal``: ``heads`` and
        measure -> ``rise`` with these pruned together (null for a category without heads); each
        with its ``interval_95``.
    """
    found: Dict[str, Dict[str, Any]] = {}
    for category in CATEGORIES.values():
        there = [head for head in measured if measured[head]["category"] == category]
        row: Dict[str, Any] = {"heads": len(there), "alone": None, "equal": None}
        if alone and there:
            row["alone"] = {}
            for name in unedited:
                draws = np.mean([drawn.rates(alone[head][name]) for head in there], axis=0)
                mean = float(np.mean([rate(alone[head][name]) for head in there]))
                row["alone"][name] = {
                    "mean_rise": mean - rate(unedited[name]),
                    "interval_95": interval(draws - drawn.rates(unedited[name])),
                }
        if category in equal:
            chosen, errors = equal[category]
            told = difference(errors, unedited, drawn)
            row["equal"] = {"heads": [list(head) for head in chosen], "measures": told}
        found[category] = row
    return found


def refinement(
    chosen: Variant,
    tried: Sequence[Tuple[Variant, Errors]],
    edited: Errors,
    unedited: Errors,
    measure: str,
    halves: Tuple[Sequence[int], Sequence[int]],
) -> Dict[str, Any]:
    """What was chosen, and what it does on the utterances that had no say.

    Args:
        chosen: the variant.
        tried: all of them, with their errors.
        edited: the errors with the plan of ``chosen`` carried out.
        measure: that decided.
        halves: places of the utterances that decided, and of the others.
    """
    result: Dict[str, Any] = {"measure": measure, "variant": chosen.name}
    for key, places in zip(("choice", "check"), halves, strict=True):
        before = {measure: [unedited[measure][place] for place in places]}
        after = {measure: [edited[measure][place] for place in places]}
        drawn = Resampling(len(places))
        result[key] = {
            "utterances": sum(unedited[measure][place][1] > 0 for place in places),
            "unedited": rate(before[measure]),
            "refined": rate(after[measure]),
            **difference(after, before, drawn)[measure],
        }
    result["whole"] = {"unedited": rate(unedited[measure]), "refined": rate(edited[measure])}
    result["tried"] = [
        {
            "variant": variant.name,
            "heads": len(variant.heads),
            "order": variant.order,
            "window": variant.window,
            "choice": rate([errors[measure][place] for place in halves[0]]),
            "check": rate([errors[measure][place] for place in halves[1]]),
        }
        for variant, errors in tried
    ]
    return result


def curve_rows(report: Mapping[str, Any]) -> List[List[Any]]:
    """``curves.csv``: one row for each point and measure, header first."""
    header = ["curve", "order", "pruned", "share", "span", "measure"]
    rows: List[List[Any]] = [[*header, "errors", "tokens", "rate", "low_95", "high_95"]]
    for order, points in report["curves"].items():
        for found in points:
            place = ["heads", order, found["pruned"], found["share"], ""]
            rows += [[*place, *cells] for cells in _cells(found["measures"])]
    for kind, points in report["spans"].items():
        for found in points:
            span = "full" if found["span"] is None else found["span"]
            rows += [["span", kind, "", "", span, *cells] for cells in _cells(found["measures"])]
    return rows


def _cells(measures: Mapping[str, Mapping[str, Any]]) -> List[List[Any]]:
    return [
        [name, value["errors"], value["tokens"], value["rate"], *value["interval_95"]]
        for name, value in measures.items()
    ]
