"""Blocks at a glance: patterns, abnormal flags, the plan, similarity and probes."""

from __future__ import annotations

from html import escape
from typing import Dict, List, Optional, Sequence, Tuple

from espnet_plugin.report.analyses import Analysis, Extras, scales
from espnet_plugin.report.arms import summary
from espnet_plugin.report.drawings import Heatmap, Line, Panels
from espnet_plugin.report.html.heads import CATEGORIES, leaders
from espnet_plugin.report.html.markup import Figures, Section, legend, mark_html, table, tabs
from espnet_plugin.report.matrices import matrices
from espnet_plugin.report.probes import probes
from espnet_plugin.surgery.actions import Action, Mimic

PATTERNS = ("global", "vertical", "diagonal")


def models(analyses: Sequence[Analysis]) -> str:
    """A card for each model: what it is, and how much speech was measured."""
    cards = ""
    for n, one in enumerate(analyses):
        model, data = one.model, one.data
        facts = [
            ("encoder", model["encoder"]),
            ("blocks", model["blocks"]),
            ("parameters of the encoder", f"{model['encoder_parameters'] / 1e6:.2f} M"),
            ("utterances", data["utterances"]),
            ("speech", f"{data['seconds'] / 60:.1f} min" if data.get("seconds") else None),
        ]
        cells = "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
            for name, value in facts
            if value is not None
        )
        cards += (
            f'<div class="model" data-model="{n}"><h2>{escape(one.name)}</h2><dl>{cells}</dl></div>'
        )
    return f'<div class="models">{cards}</div>'


def section(analyses: Sequence[Analysis], extras: Extras, figures: Figures) -> Optional[Section]:
    """The section; None where nothing of it was measured."""
    parts = [
        _strips(analyses, extras),
        _patterns(analyses, figures),
        _flags(extras),
        _plan(extras),
        _probes(analyses, figures),
        _similarity(analyses, figures),
    ]
    html = "".join(part for part in parts if part)
    return Section("overview", "Blocks", html) if html else None


# -- One tile per block ------------------------------------------------------------------------


def _strips(analyses: Sequence[Analysis], extras: Extras) -> str:
    html = ""
    for n, one in enumerate(analyses):
        patterns = one.results.get("patterns")
        attention = one.results.get("attention")
        if patterns is None and attention is None:
            continue
        labels = {b["block"]: b for b in patterns["blocks"]} if patterns else {}
        counts = {
            b["block"]: [sum(h["category"] == c for h in b["heads"]) for c in CATEGORIES]
            for b in (attention["blocks"] if attention else [])
        }
        leader = leaders(one)
        flagged = _flagged(extras) if n == 0 else {}
        acts = _acts(extras) if n == 0 else {}
        tiles = ""
        for block in range(one.blocks):
            first = leader.get(block, block)
            label = labels.get(first, {}).get("label")
            said = [f"<b>{block}</b>"]
            if first != block:
                said.append(f"map of {first}")
            if label:
                said.append(escape(label))
            if any(counts.get(block, [])):
                diagonal, vertical, overall = counts[block]
                said.append(f'<span class="quiet">{diagonal} D {vertical} V {overall} G</span>')
            if block in acts:
                said.append(f'<span class="act">{escape(acts[block])}</span>')
            if block in flagged:
                said.append('<span class="act">abnormal</span>')
            css = f"block {label or ''}{' flagged' if block in flagged else ''}"
            gone = " gone" if acts.get(block, "").startswith("drop") else ""
            tiles += f'<div class="{css}{gone}" role="listitem">{"<br>".join(said)}</div>'
        html += (
            f"<h3>{escape(one.name)}</h3>"
            f'<div class="stack" role="list" tabindex="0" aria-label="Blocks of '
            f'{escape(one.name)}, from the input to the output">{tiles}</div>'
        )
    if not html:
        return ""
    keys = legend({name: name for name in ("diagonal", "vertical", "global", "mixed")})
    return (
        f'<p class="lead">From the input to the output. Colours are the pattern of the whole block '
        f"{mark_html('I')}:{keys}. Counts are heads by category {mark_html('P')}.</p>{html}"
    )


def _flagged(extras: Extras) -> Dict[int, str]:
    if extras.diagnosis is None:
        return {}
    return {flag["block"]: flag["rule"] for flag in extras.diagnosis["flags"]}


def _acts(extras: Extras) -> Dict[int, str]:
    if extras.plan is None:
        return {}
    found: Dict[int, List[str]] = {}
    for action in extras.plan.actions:
        for block in _blocks_of(action):
            found.setdefault(block, []).append(summary([action]))
    return {block: "; ".join(said) for block, said in found.items()}


def _blocks_of(action: Action) -> Sequence[int]:
    if isinstance(action, Mimic):
        return range(action.blocks[0], action.blocks[1] + 1)
    return [int(action.arguments()["block"])]


# -- Patterns, flags and plan ----------------------------------------------------------------------


def _patterns(analyses: Sequence[Analysis], figures: Figures) -> str:
    shown = [(n, one) for n, one in enumerate(analyses) if "patterns" in one.results]
    if not shown:
        return ""
    panels = []
    for name in PATTERNS:
        series = []
        for n, one in shown:
            blocks = one.results["patterns"]["blocks"]
            series.append(
                Line(
                    one.name,
                    [b["block"] for b in blocks],
                    [b["scores"][name] for b in blocks],
                    [tuple(b["intervals_95"][name]) for b in blocks],
                    n,
                )
            )
        panels.append((name, series))
    caption = (
        "G / ln T, 1 + V / ln T and 3 CAD − 2 of the map averaged over a block's heads: 1 is a "
        "pure pattern. Means over utterances with 95 % bootstrap intervals over utterances, "
        f"{scales([one for _, one in shown])}. After Chen, Asgari 2021, arXiv 2104.02851; the "
        "scores are ours."
    )
    drawing = Panels(panels, "block", "score (1)", y_range=(-0.25, 1.05))
    return figures.add("patterns", drawing, "Pattern of each block", caption, "I")


def _flags(extras: Extras) -> str:
    diagnosis = extras.diagnosis
    if diagnosis is None:
        return ""
    rule = diagnosis["rule"]
    said = (
        f"A score further from the running median of its neighbours than {rule['times']:g} robust "
        f"standard deviations and {rule['least']:g}; {diagnosis['data']['utterances']} utterances."
    )
    heading = f"<h3>Abnormal blocks {mark_html('I')}</h3>"
    others = [n for n in diagnosis["candidates"] if n not in diagnosis["abnormal"]]
    if others:  # --at_least
        blocks = ", ".join(map(str, others))
        said += f" Not abnormal, but those that deviate most, as asked for: {blocks}."
    if not diagnosis["flags"]:
        return f"{heading}<p>No block is abnormal. {escape(said)}</p>"
    rows = [[flag["block"], flag["rule"], flag["figures"]] for flag in diagnosis["flags"]]
    return heading + table(said, ["block", "rule", "figures"], rows, text=(1, 2))


def _plan(extras: Extras) -> str:
    plan = extras.plan
    if plan is None:
        return ""
    because = plan.because or [""] * len(plan.actions)
    rows = [
        [", ".join(map(str, _blocks_of(action))), summary([action]), reason]
        for action, reason in zip(plan.actions, because, strict=True)
    ]
    name = plan.path.name if plan.path else "plan"
    caption = f"Block plan {name} for {plan.stack.model or plan.stack.family}"
    if not rows:
        return f"<h3>Plan</h3><p>{escape(caption)}: every block stays as it is.</p>"
    return "<h3>Plan</h3>" + table(caption, ["block", "action", "because"], rows, text=(1, 2))


# -- Probes and similarity -------------------------------------------------------------------------


def _probes(analyses: Sequence[Analysis], figures: Figures) -> str:
    found = [(n, one, probe) for n, one in enumerate(analyses) for probe in probes(one)]
    html = ""
    for kind in dict.fromkeys(probe.kind for _, _, probe in found):
        shown = [(n, one, probe) for n, one, probe in found if probe.kind == kind]
        series = [Line(one.name, p.states, p.accuracy, p.intervals, n) for n, one, p in shown]
        first = shown[0][2]
        axis = "state: 0 enters block 0, n leaves block n − 1"
        drawing = Panels([("", series)], axis, "accuracy (1)", level=first.chance)
        caption = " ".join(f"{one.name}: {p.caption}" for _, one, p in shown)
        caption = first.caption if len(shown) == 1 else caption
        html += figures.add(kind, drawing, first.title, caption, first.mark)
    return f'<div class="row">{html}</div>' if html else ""


def _similarity(analyses: Sequence[Analysis], figures: Figures) -> str:
    found: List[Tuple[str, List[str]]] = []
    for one in analyses:
        for matrix in matrices(one):
            title = f"{matrix.title}, {one.name}" if len(analyses) > 1 else matrix.title
            size = len(matrix.values)
            drawing = Heatmap(
                matrix.values,
                range(size),
                range(size),
                matrix.axis,
                matrix.axis,
                limits=matrix.limits,
                frames=matrix.structure,
                written=size <= 14,
            )
            name = f"similarity_{matrix.key}" + (f"_{one.label}" if len(analyses) > 1 else "")
            html = figures.add(name, drawing, title, matrix.caption, matrix.mark)
            there = dict(found).get(matrix.title)
            if there is None:
                found.append((matrix.title, [html]))
            else:
                there.append(html)
    if not found:
        return ""
    panels = [(title, f'<div class="row square">{"".join(parts)}</div>') for title, parts in found]
    return "<h3>Similarity of blocks</h3>" + tabs("similarity", panels)
