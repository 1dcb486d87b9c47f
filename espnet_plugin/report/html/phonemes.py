"""Which phonemes heads attend to: maps over phones, concentration, kinds of pairs, boundaries."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from espnet_plugin.report.analyses import Analysis, scales
from espnet_plugin.report.drawings import Heatmap, Panels, Points
from espnet_plugin.report.html.markup import Figures, Section
from espnet_plugin.report.html.media import Media, media_of
from espnet_plugin.report.phoneme_maps import (
    NAMES,
    concentrations,
    head_maps,
    kinds,
    segmentation,
)


def section(analyses: Sequence[Analysis], figures: Figures) -> Optional[Section]:
    """The section; None where nothing of it was measured."""
    parts = [
        _picker(analyses),
        _kinds(analyses, figures),
        _concentration(analyses, figures),
        _segmentation(analyses, figures),
    ]
    html = "".join(part for part in parts if part)
    return Section("phonemes", "Phonemes", html) if html else None


def head_data(analyses: Sequence[Analysis]) -> Tuple[List[Dict[str, Any]], List[Media]]:
    """Maps over phones for the script: what there is, and the values as float16."""
    data: List[Dict[str, Any]] = []
    media: List[Media] = []
    for n, analysis in enumerate(analyses):
        for one in head_maps(analysis):
            name = f"h-{one.key}-{n}"
            media.append(media_of(name, one.maps.astype("<f2").tobytes()))
            away = np.abs(one.maps - one.neutral)
            data.append(
                {
                    "model": n,
                    "key": one.key,
                    "id": name,
                    "title": one.title,
                    "symbols": one.symbols,
                    "places": one.places,
                    "neutral": one.neutral,
                    "reach": float(f"{np.nanpercentile(away, 97):.2g}"),
                    "caption": f"{one.source}. Unit: {one.unit}. {analysis.scale}.",
                    "mark": one.mark,
                }
            )
    return data, media


def _picker(analyses: Sequence[Analysis]) -> str:
    if not any(head_maps(one) for one in analyses):
        return ""
    return (
        '<p class="lead">Rows: the phone of the query frame; columns: the phone of the frame that '
        "it attends to. The head is the one chosen in the tables or the browser, or here.</p>"
        '<div class="controls"><label>Map <select id="phoneme-map"></select></label>'
        '<label>Head <select id="phoneme-head"></select></label></div>'
        '<figure><h3 id="phoneme-title" aria-live="polite"></h3>'
        '<div class="plot" id="phoneme-plot" role="img" style="height:640px;max-width:48rem"></div>'
        '<figcaption id="phoneme-caption"></figcaption></figure>'
    )


def _kinds(analyses: Sequence[Analysis], figures: Figures) -> str:
    shown = [(n, one, kinds(one)) for n, one in enumerate(analyses) if kinds(one)]
    if not shown:
        return ""
    panels = []
    for kind, name in NAMES.items():
        series = [
            Points(
                one.name,
                [(value.block, value.head) for value in found[kind]],
                [value.value for value in found[kind]],
                [value.interval for value in found[kind]],
                n,
            )
            for n, one, found in shown
        ]
        panels.append((name, series))
    first = shown[0][1]
    source = first.results["phoneme_attention"]["sources"]["same"]
    caption = (
        f"Attention to frames of other segments by what their phone is to the query's: "
        f"{source['source']}. Unit: {source['unit']} (dotted). A point is a head, with its 95 % "
        f"interval over utterances. {scales([one for _, one, _ in shown])}."
    )
    drawing = Panels(panels, "block", source["unit"], level=1.0, height=380)
    return figures.add("phone_kinds", drawing, "Attention to like phones", caption, source["mark"])


def _concentration(analyses: Sequence[Analysis], figures: Figures) -> str:
    html = ""
    for one in analyses:
        found = concentrations(one)
        if found is None:
            continue
        names, symbols, values = found
        reach = float(np.nanpercentile(np.abs(values), 97))
        rows = [[None if v != v else float(v) for v in row] for row in values]
        drawing = Heatmap(
            rows,
            symbols,
            names,
            "phone",
            "block.head",
            limits=(-reach, reach),
            diverging=True,
            height=int(min(1100, 120 + 15 * len(names))),
            square=False,
        )
        source = one.results["relation"]["sources"]["concentration"]
        caption = (
            f"Mean of a head's relation map over the query's phone: above 0 it focuses on a phone, "
            f"below it neglects it. Colours end at ±{reach:.2g}. {source['source']}. {one.scale}."
        )
        title = f"Concentration on phones, {one.name}"
        name = "concentration" + (f"_{one.label}" if len(analyses) > 1 else "")
        html += figures.add(name, drawing, title, caption, source["mark"])
    return html


def _segmentation(analyses: Sequence[Analysis], figures: Figures) -> str:
    shown = [(n, one, segmentation(one)) for n, one in enumerate(analyses)]
    there = [(n, one, found) for n, one, found in shown if found is not None]
    if not there:
        return ""
    series = [
        Points(
            one.name,
            [(value.block, value.head) for value in found.heads],
            [value.value for value in found.heads],
            [value.interval for value in found.heads],
            n,
        )
        for n, one, found in there
    ]
    first = there[0][2]
    drawing = Panels([("", series)], "block", "R-value", level=first.baseline, height=380)
    title = "Phone boundaries from attention"
    return figures.add("segmentation", drawing, title, first.caption, first.mark)
