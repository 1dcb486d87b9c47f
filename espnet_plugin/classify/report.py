"""RESULTS.md of the recipe: tables, and the plot of the pruning curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from espnet_plugin.atomic import PathLike, atomic_open, atomic_path
from espnet_plugin.classify.accuracy import Accuracy
from espnet_plugin.classify.speed import FULL

PARTS = ("accuracy", "curves", "mimics", "time")
COLOURS = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"]
MARKS = "osv^<>DX"
VARIANTS = {
    "stage 1": "stage 1, the head as it was",
    "both, frozen": "both stages, mimic frozen",
    "both": "both stages",
    "stage 2": "no stage 1",
}


def read_results(exp: PathLike) -> Dict[str, Any]:
    """The JSON files that the steps wrote into one experiment, by their names; absent ones are left
    out.

    Raises:
        ValueError: a file that is no JSON, or none is there.
    """
    found: Dict[str, Any] = {}
    for part in PARTS:
        file = Path(exp) / f"{part}.json"
        if file.is_file():
            try:
                found[part] = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{file}: not JSON: {error}") from None
    if not found:
        raise ValueError(f"{exp}: no results; run the steps before this one")
    return found


def write_report(
    results: Mapping[str, Mapping[str, Any]], out: PathLike, intro: str, plot: Optional[PathLike]
) -> None:
    """Write the Markdown and the plot.

    Args:
        results: by task, what :func:`read_results` gave.
        out: the Markdown.
        intro: text that comes first.
        plot: PNG of the curves, beside ``out``; None: no plot.
    """
    lines = [intro.rstrip(), ""]
    if plot is not None:
        plot_curves(results, plot)
        lines += [f"![pruning curves]({Path(plot).name})", ""]
    for task, found in results.items():
        lines += [f"## {task.capitalize()}", ""]
        if "accuracy" in found:
            lines += [f"Full network on the test set: {accuracy(found['accuracy'])}.", ""]
        if "curves" in found:
            lines += [*curve_table(found["curves"]), ""]
        if "mimics" in found:
            lines += [*mimic_table(found["mimics"], found.get("time")), ""]
    with atomic_open(out) as stream:
        stream.write("\n".join(lines).rstrip() + "\n")


def accuracy(value: Mapping[str, Any]) -> str:
    """For example ``97.3 % (94.8–98.6)``, with the 95 % interval."""
    found = Accuracy(value["right"], value["total"])
    low, high = found.interval()
    return f"{100 * found.value:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def curve_table(curves: Mapping[str, Any]) -> List[str]:
    """Accuracy by order and blocks removed; bold where at least 95 % of the full one is kept."""
    points = range(curves["blocks"])
    lines = [
        "Accuracy (%) after so many blocks are taken out, nothing trained afterwards; **bold**: at "
        "least 95 % of the capacity is kept up to there.",
        "",
        "| order | " + " | ".join(map(str, points)) + " | kept at 95 % |",
        "|---" * (len(points) + 2) + "|",
    ]
    for name, curve in curves["curves"].items():
        cells = [
            f"**{100 * right / curves['total']:.1f}**"
            if removed <= curve["removable"]
            else f"{100 * right / curves['total']:.1f}"
            for removed, right in enumerate(curve["right"])
        ]
        share = curve["removable"] / curves["blocks"]
        lines.append(
            f"| {name} | " + " | ".join(cells) + f" | {curve['removable']} ({share:.0%}) |"
        )
    orders = {name: curve["order"] for name, curve in curves["curves"].items()}
    lines += ["", "Orders: " + "; ".join(f"{n} {_listed(o)}" for n, o in orders.items()) + "."]
    return lines


def _listed(order: Sequence[int]) -> str:
    return " ".join(map(str, order))


def mimic_table(mimics: Mapping[str, Any], speed: Optional[Mapping[str, Any]]) -> List[str]:
    """Parameters, accuracy of every variant, and time, of every mimic."""
    whole = mimics["parameters"]
    first, last = mimics["teacher_blocks"]
    heads = ["mimic", "parameters of the blocks", "of the model", *VARIANTS.values()]
    heads += ["time of the blocks", "of the model"] if speed else []
    lines = [
        f"Mimics of all blocks (a learns block {first}, b block {last}); accuracy with its 95 % "
        "interval.",
        "",
        "| " + " | ".join(heads) + " |",
        "|---" * len(heads) + "|",
    ]
    full = [FULL, f"{whole['blocks']:,}", f"{whole['model']:,}", *["–"] * 2, accuracy(mimics[FULL])]
    lines.append("| " + " | ".join([*full, "–", *_times(speed, FULL)]) + " |")
    z = ["head on z alone", "0", "–", *["–"] * 3, accuracy(mimics["z"])]
    lines.append("| " + " | ".join([*z, *(["–"] * 2 if speed else [])]) + " |")
    for mimic in mimics["mimics"]:
        cells = [f"{mimic['kind']}, {mimic['layers']} × {mimic['hidden']}"]
        for part in ("blocks", "model"):
            size = mimic["parameters"][part]
            cells.append(f"{size:,} (−{1 - size / whole[part]:.1%})")
        cells += [accuracy(mimic[variant]) for variant in VARIANTS]
        lines.append("| " + " | ".join([*cells, *_times(speed, mimic["name"])]) + " |")
    if speed:
        lines += [
            "",
            f"Time: {speed['recordings']} recordings ({speed['seconds']:.0f} s) in "
            f"{speed['batches']} batches, {_clock(speed['threads'])}, torch {speed['torch']}, all "
            f"in turn in one process, medians of {speed['repeats']} rounds.",
        ]
    return lines


def _times(speed: Optional[Mapping[str, Any]], name: str) -> List[str]:
    if not speed:
        return []
    cells = []
    for part in ("blocks", "model"):
        value = speed["stacks"][name][part]
        share = "" if name == FULL else f" (−{1 - value['share']:.1%})"
        cells.append(f"{1000 * value['seconds']:.1f} ms{share}")
    return cells


def _clock(threads: int) -> str:
    return "processor time of one thread" if threads == 1 else f"{threads} threads"


def plot_curves(results: Mapping[str, Mapping[str, Any]], path: PathLike) -> None:
    """Share of the accuracy kept, against the share of blocks removed; a panel for each task.

    Raises:
        ImportError: matplotlib is not installed; says how to get it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install 'espnet_plugin[report]'") from None
    tasks = [task for task, found in results.items() if "curves" in found]
    figure = Figure(figsize=(5.2 * max(1, len(tasks)), 4.2), layout="constrained")
    for number, task in enumerate(tasks, 1):
        curves = results[task]["curves"]
        axes = figure.add_subplot(1, len(tasks), number)
        for place, (name, curve) in enumerate(curves["curves"].items()):
            kept = [100 * right / curve["right"][0] for right in curve["right"]]
            removed = [100 * i / curves["blocks"] for i in range(len(kept))]
            axes.plot(
                removed, kept, color=COLOURS[place % 8], marker=MARKS[place % 8], markersize=4,
                linewidth=1.2, label=name,
            )  # fmt: skip
        axes.axhline(95, color="grey", linewidth=0.8, linestyle="--")
        axes.axvline(40, color="grey", linewidth=0.8, linestyle="--")
        axes.set_title(task)
        axes.set_xlabel("blocks removed (%)")
        axes.set_ylabel("accuracy kept (%)")
        axes.set_ylim(0, 105)
        if number == 1:
            axes.legend(fontsize=7, loc="lower left")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
