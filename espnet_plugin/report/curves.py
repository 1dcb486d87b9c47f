"""Curves of pruned heads and blocks, of limited spans and of budgets, from the files with them."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from espnet_plugin.report.drawings import Chart, Line, Panels

RANKING = "espnet_plugin/ranking/1"
ORDERS = {
    "globalness": "most global first",
    "verticality": "most vertical first",
    "diagonality": "most diagonal first",
    "maximum_weight": "smallest maximum weight first",
}
MEASURES = {"greedy": "words, greedy", "k2": "words, k2", "token": "tokens, greedy"}
YANG = "Yang, Liu, Lee, Interspeech 2020, arXiv 2006.03265"


def charts(content: Dict[str, Any], number: int) -> List[Chart]:
    """The charts of one file of curves.

    Args:
        content: of ``ranking.json`` (bin.rank_heads), ``curve.json`` (bin.plan --budget) or
            ``curves.json`` (bin.classify).
        number: of the file, for the names of the figures.
    """
    if content.get("schema") == RANKING:
        return _ranking(content, number)
    return [_budget(content, number) if "budget" in content else _blocks(content, number)]


def known(content: Any) -> bool:
    """Whether :func:`charts` can draw it."""
    if not isinstance(content, dict):
        return False
    keys = content.keys()
    return content.get("schema") == RANKING or any(
        some <= keys for some in ({"budget", "plans", "chosen"}, {"curves", "total", "core"})
    )


def _scale(content: Dict[str, Any]) -> str:
    data = content["data"]
    minutes = f", {data['seconds'] / 60:.1f} minutes" if data.get("seconds") else ""
    return f"{data['utterances']} utterances{minutes} of {data['directory']}"


def _ranking(content: Dict[str, Any], number: int) -> List[Chart]:
    names = list(content["unedited"])
    panels = []
    for name in names:
        series, colour = [], 0
        for order, points in content["curves"].items():
            if order.startswith("random "):
                continue
            label = ORDERS.get(order, order)
            series.append(_curve(label, points, "pruned", name, colour))
            colour += 1
        control = _random(content["curves"], name, colour)
        panels.append((MEASURES.get(name, name), series + ([control] if control else [])))
    found = [
        Chart(
            f"heads_pruned_{number}",
            Panels(panels, "heads pruned", "errors (%)", height=400, whole=False),
            "Pruning heads, from those that each order takes first",
            f"Maps multiplied by 0, nothing trained afterwards; 95 % bootstrap intervals over "
            f"utterances. {YANG}; error rates of recognition [I]. {_scale(content)}.",
            "P",
        )
    ]
    limited = []
    for name in names:
        series = []
        for colour, (kind, points) in enumerate(content["spans"].items()):
            series.append(_spans(kind, points, name, colour))
        limited.append((MEASURES.get(name, name), series))
    found.append(
        Chart(
            f"spans_{number}",
            Panels(limited, "frames on each side", "errors (%)", height=380, whole=False),
            "Limiting how far every head sees",
            "Weights further than so many frames are set to 0 (plain), or the rest is divided by "
            f"its sum (renormalised [I]). {YANG}. {_scale(content)}.",
            "P",
        )
    )
    return found


def _curve(label: str, points: Sequence[Any], x: str, name: str, colour: int) -> Line:
    values = [point["measures"][name] for point in points]
    return Line(
        label,
        [point[x] for point in points],
        [value["rate"] for value in values],
        [tuple(value["interval_95"]) for value in values],
        colour,
    )


def _random(curves: Dict[str, Any], name: str, colour: int) -> Optional[Line]:
    """The mean of the orders at random, from the lowest to the highest of them."""
    controls = [points for order, points in curves.items() if order.startswith("random ")]
    if not controls:
        return None
    columns = list(zip(*controls, strict=True))
    rates = [[point["measures"][name]["rate"] for point in column] for column in columns]
    return Line(
        f"at random ({len(controls)}: mean, least, most)",
        [column[0]["pruned"] for column in columns],
        [sum(one) / len(one) for one in rates],
        [(min(one), max(one)) for one in rates],
        7 if colour < 7 else colour,
    )


def _spans(kind: str, points: Sequence[Any], name: str, colour: int) -> Line:
    """Over the span as a name, the full one first."""
    values = [point["measures"][name] for point in points]
    return Line(
        kind,
        ["full" if point["span"] is None else str(point["span"]) for point in points],
        [value["rate"] for value in values],
        [tuple(value["interval_95"]) for value in values],
        colour,
    )


def _budget(content: Dict[str, Any], number: int) -> Chart:
    timed = [plan for plan in content["plans"] if plan.get("speed")]
    by_name: Dict[str, Tuple[float, float]] = {}
    kinds = {content["chosen"]: "chosen"}
    for name, plan in content.get("compared", {}).items():
        kinds.setdefault(plan, name.replace("_", " "))
    rest = []
    for plan in timed:
        point = (plan["speed"], plan["damage"])
        if plan["plan"] in kinds:
            by_name[kinds[plan["plan"]]] = point
        else:
            rest.append(point)
    series = [Line("all plans timed", [p[0] for p in rest], [p[1] for p in rest], None, 7)]
    for colour, name in enumerate(sorted(by_name, key=lambda one: one != "chosen")):
        series.append(Line(name, [by_name[name][0]], [by_name[name][1]], None, colour))
    budget = content["budget"]
    return Chart(
        f"budget_{number}",
        Panels(
            [("", series)],
            "times as fast, the whole stack",
            "damage (nats per frame)",
            height=420,
            whole=False,
            joined=False,
        ),
        f"Plans for {budget['metric']} = {budget['value']:g}",
        f"{content['damage']}, nothing trained afterwards; "
        f"{len(content['conditions']['utterances'])} utterances, timed at "
        f"{content['conditions']['seconds'][0]:g} s, {content['conditions']['threads']} thread(s).",
        "I",
    )


def _blocks(content: Dict[str, Any], number: int) -> Chart:
    total = content["total"]
    series = [
        Line(
            name.replace("_", " "),
            list(range(len(curve["right"]))),
            [100 * right / total for right in curve["right"]],
            None,
            colour,
        )
        for colour, (name, curve) in enumerate(content["curves"].items())
    ]
    return Chart(
        f"blocks_pruned_{number}",
        Panels([("", series)], "blocks removed", "right (%)", height=420),
        "Removing blocks, from those that each order takes first",
        "Nothing trained afterwards. Dorszewski et al., ICASSP 2025, arXiv 2409.16302; "
        f"{total} recordings.",
        "P",
    )
