"""Which findings of the papers hold for each model."""

from __future__ import annotations

from html import escape
from typing import Any, List, Optional, Sequence

from espnet_plugin.report.analyses import Analysis, Extras, scales
from espnet_plugin.report.findings import Finding, findings, rankings_of
from espnet_plugin.report.html.markup import Section, mark_html, table

SIGNS = {"holds": "✓ holds", "does not hold": "✗ does not hold", "undecided": "? undecided"}


def section(analyses: Sequence[Analysis], extras: Extras) -> Optional[Section]:
    """The section; None where nothing was measured that a finding needs."""
    html = ""
    for one in analyses:
        found = findings(one, rankings_of(one, extras.curves))
        if found:
            html += table(
                one.name, ["finding", "source", "here", "figures"], _rows(found), (1, 2, 3)
            )
    if not html:
        return None
    lead = (
        f'<p class="lead">A sentence of a paper as one difference {mark_html("I")}, with its 95 % '
        "interval over utterances: it holds where the interval lies above zero, does not hold "
        f"where it lies below, and is undecided else. {escape(scales(analyses))}.</p>"
    )
    return Section("findings", "Findings", lead + html)


def _rows(found: Sequence[Finding]) -> List[List[Any]]:
    return [[one.claim, one.source, SIGNS[one.verdict], one.figures] for one in found]
