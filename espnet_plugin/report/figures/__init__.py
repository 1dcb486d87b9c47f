"""The figures of a report as PNG and PDF for papers."""

from __future__ import annotations

from pathlib import Path
from typing import List, Sequence

from espnet_plugin.atomic import PathLike
from espnet_plugin.report.analyses import Analysis, Extras


def write_figures(folder: PathLike, analyses: Sequence[Analysis], extras: Extras) -> List[Path]:
    """Write every figure of the page, and each model's table of heads and map of an example.

    Args:
        folder: for NAME.png (300 dots per inch) and NAME.pdf (vectors, embedded fonts).
        analyses, extras: as for the page.

    Returns:
        The files.

    Raises:
        ImportError: matplotlib is not installed; one line says what to do.
    """
    from espnet_plugin.report.figures.attention import maps, measures
    from espnet_plugin.report.figures.draw import draw
    from espnet_plugin.report.figures.style import paper, save
    from espnet_plugin.report.html.page import contents

    folder = Path(folder)
    written: List[Path] = []
    with paper():
        for chart in contents(analyses, extras)[1].charts:
            written += save(draw(chart), folder, chart.name)
        for one in analyses:
            of = f"_{one.label}" if len(analyses) > 1 else ""
            if "attention" in one.results:
                written += save(measures(one), folder, f"measures{of}")
            if one.results.get("examples", {}).get("utterances"):
                written += save(maps(one), folder, f"maps{of}")
    return written
