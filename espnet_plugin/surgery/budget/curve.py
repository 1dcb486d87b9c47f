"""The trade-off of a budget search, written out: every plan that was measured."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List

from espnet_plugin.atomic import atomic_open, atomic_path, write_json
from espnet_plugin.surgery.budget.goal import Budget
from espnet_plugin.surgery.budget.moves import key_of
from espnet_plugin.surgery.budget.proposal import Proposal

COLUMNS = (
    "plan", "origin", "moves", "predicted_cost", "time", "speed", "parameters", "macs",
    "within", "predicted_damage", "damage", "check_damage", "healed_damage", "healed_check_damage",
)  # fmt: skip
"""Of the table; those with ``cost`` and ``time`` are shares of the unedited stack's."""


def curve_of(found: Proposal) -> Dict[str, Any]:
    """Everything as plain values.

    ``plans`` has one row for each plan that was measured whole; its ``time`` (quartiles) and
    ``speed`` only where it was timed whole, its ``healed_damage`` where it was healed.
    ``moves`` has one row for each move that saves anything, measured alone.
    """
    search, measurer = found.search, found.measurer
    timed = found.budget.timed
    seconds, outside = measurer.original_time() if timed else (None, None)
    parameters, macs = measurer.sizes(())
    names = {choice: name for name, choice in found.named.items()}
    important = {found.choice, *names, *found.times}
    rows = []
    for choice in {**dict.fromkeys(important), **search.origins}:
        times = found.times.get(choice)
        size = measurer.sizes(choice)
        healed, healed_check = found.healed.get(choice, (None, None))
        rows.append(
            {
                "plan": key_of(choice),
                "origin": names.get(choice) or search.origins.get(choice, "additive"),
                "moves": [str(move) for move in choice if move.actions],
                "predicted_cost": search.cost(choice),
                "time": None if times is None else list(times),
                "speed": None if times is None else 1 / times[1],
                "parameters": size[0],
                "macs": size[1],
                "predicted_damage": search.predicted(choice),
                "within": found.within(choice) if choice in found.times or not timed else None,
                "damage": measurer.damage(choice),
                "check_damage": measurer.check(choice) if choice in important else None,
                "healed_damage": healed,
                "healed_check_damage": healed_check,
            }
        )
    rows.sort(key=lambda row: (row["predicted_cost"], row["damage"], row["plan"]))
    return {
        "model": str(measurer.subject.path),
        "budget": asdict(found.budget),
        "limit": found.limit,
        "healing": None if found.trial is None else found.trial.description(),
        "damage": measurer.measure,
        "unit": measurer.unit,
        "capacity": measurer.capacity(),
        "conditions": measurer.conditions(),
        "original": {
            "time_seconds": seconds,
            "share_outside_blocks": outside,
            "parameters": parameters,
            "macs": macs,
        },
        "chosen": key_of(found.choice),
        "compared": {name: key_of(choice) for name, choice in found.named.items()},
        "moves": [
            {"move": str(move), "cost": cost, "damage": search.damages[move]}
            for move, cost in search.costs.items()
        ],
        "plans": rows,
    }


def write_curve(curve: Dict[str, Any], directory: Path) -> List[Path]:
    """Write ``curve.json``, ``curve.csv`` and, where matplotlib is there, ``curve.png``.

    Returns:
        What was written.
    """
    written = [directory / "curve.json", directory / "curve.csv"]
    write_json(written[0], curve)
    with atomic_open(written[1]) as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in curve["plans"]:
            time = None if row["time"] is None else row["time"][1]
            writer.writerow({**row, "moves": "; ".join(row["moves"]), "time": time})
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return written
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _trade_off(left, curve)
    _prediction(right, curve)
    written.append(directory / "curve.png")
    with atomic_path(written[-1]) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    return written


_MARKS = "sD^vP*Xh"
_LEAST = 1e-4
"""Damages below are drawn as this; the axes are logarithmic."""


def _trade_off(axes: Any, curve: Dict[str, Any]) -> None:
    plans = {row["plan"]: row for row in curve["plans"]}
    rest = [row for row in plans.values() if row["plan"] not in curve["compared"].values()]
    axes.scatter(
        [_gain(row, curve) for row in rest], [_damage(row) for row in rest],
        s=14, c="#999999", label="measured plans",
    )  # fmt: skip
    best: List[Dict[str, Any]] = []
    for row in sorted(plans.values(), key=lambda row: -_gain(row, curve)):
        if not best or row["damage"] < best[-1]["damage"]:
            best.append(row)
    axes.plot(
        [_gain(row, curve) for row in best], [_damage(row) for row in best],
        c="#0072B2", lw=1.2, label="least damage found",
    )  # fmt: skip
    healed = [row for row in plans.values() if row["healed_damage"] is not None]
    if healed:
        axes.scatter(
            [_gain(row, curve) for row in healed],
            [_damage(row, "healed_damage") for row in healed],
            s=30, facecolors="none", edgecolors="#CC79A7",
            label=f"after {curve['healing']['max_updates']} updates of healing",
        )  # fmt: skip
    for (name, key), mark in zip(curve["compared"].items(), _MARKS * 3, strict=False):
        row = plans[key]
        axes.scatter([_gain(row, curve)], [_damage(row)], s=48, marker=mark, label=name)
    row = plans[curve["chosen"]]
    axes.scatter(
        [_gain(row, curve)], [_damage(row)], s=170, marker="*", c="#D55E00", label="chosen",
        zorder=5,
    )  # fmt: skip
    budget = curve["budget"]
    if budget["metric"] != "block_speed":
        axes.axvline(budget["value"], c="black", lw=0.8, ls=":")
    timed = budget["metric"].endswith("speed")
    axes.set_xlabel("times as fast" if timed else f"share of {budget['metric']} left")
    axes.set_ylabel(f"damage ({curve['unit']})")
    axes.set_yscale("log")
    axes.legend(fontsize=7)
    what = "before and after a short healing" if healed else "nothing healed"
    axes.set_title(f"Trade-off, {what}", fontsize=10)


def _prediction(axes: Any, curve: Dict[str, Any]) -> None:
    plans = curve["plans"]
    predicted = [max(row["predicted_damage"], _LEAST) for row in plans]
    axes.scatter(predicted, [_damage(row) for row in plans], s=14, c="#009E73")
    ends = [min(predicted), max(predicted)]
    axes.plot(ends, ends, c="black", lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("damage if damages of moves added up")
    axes.set_ylabel("measured damage")
    axes.set_title("Interaction of edits", fontsize=10)


def _gain(row: Dict[str, Any], curve: Dict[str, Any]) -> float:
    metric = curve["budget"]["metric"]
    if metric.endswith("speed"):
        return float(row["speed"] or 1 / row["predicted_cost"])
    return float(row[metric] / curve["original"][metric])


def _damage(row: Dict[str, Any], which: str = "damage") -> float:
    return max(float(row[which]), _LEAST)


def summary(curve: Dict[str, Any]) -> str:
    """A table of the plans that matter, for people."""
    plans = {row["plan"]: row for row in curve["plans"]}
    names: Dict[str, Any] = {"chosen": curve["chosen"], **curve["compared"]}
    budget = Budget(**curve["budget"])
    speeds = ["times as fast"]
    if budget.metric == "block_speed":
        speeds = ["whole, times as fast", "blocks, times as fast"]
    lines = [f"damage: {curve['damage']}"]
    if curve["capacity"] is not None:
        lines.append(f"{curve['unit']}, of the unedited model: {curve['capacity']:.4f}")
    after = ""
    if curve["healing"] is not None:
        after = "| healed | on other speech "
        lines.append(f"healed: the same after {curve['healing']['max_updates']} updates of healing")
    lines += [
        "",
        f"| plan | in budget | {' | '.join(speeds)} | parameters (M) | MMAC | damage "
        f"| on other speech {after}| moves |",
        "|---" * (7 + len(speeds) + (2 if after else 0)) + "|",
    ]
    for name, key in names.items():
        row = plans[key]
        values = [row["speed"]]
        if len(speeds) > 1:
            outside = curve["original"]["share_outside_blocks"]
            values.append(row["speed"] and budget.reached(1 / row["speed"], outside))
        fast = " | ".join("–" if value is None else f"{value:.2f}" for value in values)
        damages = [row["damage"], row["check_damage"]]
        damages += [row["healed_damage"], row["healed_check_damage"]] if after else []
        harm = " | ".join("–" if value is None else f"{value:.4f}" for value in damages)
        lines.append(
            f"| {name} | {'yes' if row['within'] else 'no'} | {fast} "
            f"| {row['parameters'] / 1e6:.3f} | {row['macs'] / 1e6:.0f} "
            f"| {harm} | {'; '.join(row['moves']) or 'none'} |"
        )
    return "\n".join(lines) + "\n"
