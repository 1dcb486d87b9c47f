"""The page: sections, data, pictures and plotly.js in one file that asks no network."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timezone
from functools import lru_cache
from html import escape
from importlib import resources
from typing import Any, Dict, List, Optional, Sequence, Tuple

from espnet_plugin.atomic import PathLike, atomic_open
from espnet_plugin.report.analyses import Analysis, Extras, ReportError
from espnet_plugin.report.html import browser, curves, findings, heads, overview, phonemes
from espnet_plugin.report.html.markup import MARKS, Figures, Section
from espnet_plugin.report.html.media import Media, media_of
from espnet_plugin.report.html.plots import describe
from espnet_plugin.version import __version__

SCRIPTS = (
    "base.js",
    "figures.js",
    "map_view.js",
    "browser.js",
    "kept_map.js",
    "phonemes.js",
    "main.js",
)
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src data: blob:"
)
"""What the page may load: nothing from anywhere."""


def write_page(
    path: PathLike,
    analyses: Sequence[Analysis],
    extras: Extras,
    title: Optional[str] = None,
    megabytes: float = 15.0,
) -> int:
    """Write the page.

    Args:
        path: HTML file.
        analyses: one or several models.
        extras: what else to show.
        title: the heading; made of the models' names otherwise.
        megabytes: the most that the page may have (10⁶ bytes). Examples that do not fit are left
            out, and the page names them.

    Returns:
        The bytes of the page.

    Raises:
        ReportError: it does not fit even without examples.
    """
    page = render(analyses, extras, title, int(megabytes * 1e6))
    with atomic_open(path) as stream:
        stream.write(page)
    return len(page.encode("utf-8"))


def render(
    analyses: Sequence[Analysis], extras: Extras, title: Optional[str], most_bytes: int
) -> str:
    """The page's text; see :func:`write_page`."""
    title = title or "What the heads do: " + ", ".join(one.name for one in analyses)
    sections, figures = contents(analyses, extras)
    phoneme_data, phoneme_media = phonemes.head_data(analyses)
    data: Dict[str, Any] = {
        "measures": [list(one) for one in heads.MEASURES],
        "figures": [describe(chart.drawing) for chart in figures.charts],
        "phonemes": phoneme_data,
        "models": [_model(one) for one in analyses],
    }
    plain = _assemble(title, analyses, sections, data, phoneme_media)
    room = most_bytes - len(plain.encode("utf-8")) - 20_000  # the browser's own markup
    if room < 0:
        raise ReportError(
            f"the page takes more than {most_bytes / 1e6:g} MB without any example; give "
            "--megabytes more or fewer models"
        )
    browsed = []
    for n, one in enumerate(analyses):
        shown = browser.browse(one, n, int(room / len(analyses)))
        browsed.append(shown)
        data["models"][n]["examples"] = None if shown is None else shown.data
    sections.insert(2, browser.section(browsed))
    media = phoneme_media + [one for shown in browsed if shown is not None for one in shown.media]
    return _assemble(title, analyses, sections, data, media)


def contents(
    analyses: Sequence[Analysis], extras: Extras
) -> Tuple[List[Optional[Section]], Figures]:
    """The sections of a page without the browser, and their charts."""
    figures = Figures()
    sections = [
        overview.section(analyses, extras, figures),
        heads.section(analyses),
        phonemes.section(analyses, figures),
        curves.section(analyses, extras, figures),
        findings.section(analyses, extras),
    ]
    return sections, figures


def _model(analysis: Analysis) -> Dict[str, Any]:
    attention = analysis.results.get("attention")
    blocks = attention["blocks"] if attention else []
    return {
        "name": analysis.name,
        "blocks": analysis.blocks,
        "groups": analysis.groups,
        "attention": {
            one["block"]: {"heads": [{"category": head["category"]} for head in one["heads"]]}
            for one in blocks
        },
        "examples": None,
    }


def _assemble(
    title: str,
    analyses: Sequence[Analysis],
    sections: Sequence[Optional[Section]],
    data: Dict[str, Any],
    media: Sequence[Media],
) -> str:
    there = [one for one in sections if one is not None] + [_about(analyses)]
    nav = "".join(f'<a href="#{one.id}">{escape(one.title)}</a>' for one in there)
    body = "".join(
        f'<section id="{one.id}" aria-labelledby="{one.id}-title">'
        f'<h2 id="{one.id}-title">{escape(one.title)}</h2>{one.html}</section>'
        for one in there
    )
    scripts = "\n".join(_asset(name) for name in SCRIPTS)
    held = [*media, Media("plotly", _plotly())]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title>\n<style>{_asset('style.css')}</style>\n</head>\n<body>",
            '<a class="skip" href="#main">To the content</a>',
            f'<div class="top"><nav aria-label="Sections">{nav}</nav>',
            '<button type="button" id="theme"></button></div>',
            f'<header class="hero"><h1>{escape(title)}</h1>{overview.models(analyses)}</header>',
            f'<main id="main">{body}</main>',
            f'<script type="application/json" id="data">{_json(data)}</script>',
            *(f'<script type="text/plain" id="{one.id}">{one.text}</script>' for one in held),
            f"<script>{scripts}</script>\n</body>\n</html>\n",
        ]
    )


def _about(analyses: Sequence[Analysis]) -> Section:
    marks = "".join(
        f'<dt><span class="mark">{mark}</span></dt><dd>{escape(said)}</dd>'
        for mark, said in MARKS.items()
    )
    rows: List[str] = []
    for one in analyses:
        facts = {
            "model": one.model["directory"],
            "checkpoint": one.model.get("checkpoint"),
            "data": one.data["directory"],
            **one.first["environment"],
        }
        lines = "\n".join(f"{key}: {value}" for key, value in facts.items() if value is not None)
        rows.append(f"<h3>{escape(one.name)}</h3><pre>{escape(lines)}</pre>")
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    html = (
        "<p>Marks say how sure the source of a figure is:</p>"
        f'<dl class="marks">{marks}</dl>{"".join(rows)}'
        f'<p class="quiet">Made by espnet_plugin {escape(__version__)} on {now}. Figures drawn by '
        "plotly.js (MIT licence), which is in this file; the page loads nothing from a network.</p>"
    )
    return Section("about", "About", html)


def _json(value: Any) -> str:
    """JSON that no markup can end."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _asset(name: str) -> str:
    folder = resources.files("espnet_plugin.report.html").joinpath("assets")
    return folder.joinpath(name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _plotly() -> str:
    """plotly.js as plotly's wheel has it, gzip in base64: 2 MB in place of 5.

    Raises:
        ImportError: plotly is not installed.
    """
    try:
        source = resources.files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    except (ImportError, OSError):
        raise ImportError("the report needs plotly: pip install 'espnet_plugin[report]'") from None
    return media_of("plotly", gzip.compress(source, 9, mtime=0)).text
