"""Figures for papers: vector PDFs with embedded fonts, the same from the same data."""

from __future__ import annotations

import re
import sys
import zlib

import numpy as np
import pytest
from analysis_files import MEASURES, write_analysis

from espnet_plugin.report.analyses import Extras, read_analyses
from espnet_plugin.report.drawings import Chart, Heatmap, Line, Panels, Points
from espnet_plugin.report.figures import write_figures
from espnet_plugin.report.figures.draw import draw
from espnet_plugin.report.figures.style import COLUMN, PAGE, paper, save
from espnet_plugin.report.html.plots import describe

LINES = Panels(
    [
        ("one", [Line("a", [0, 1, 2], [0.1, None, 0.3], [(0.0, 0.2), None, (0.1, 0.4)], 0)]),
        ("two", [Points("b", [(0, 0), (0, 1), (1, 0)], [1.0, 2.0, 3.0], None, 1)]),
    ],
    "block",
    "score",
    level=0.5,
)
MATRIX = Heatmap([[1.0, None], [0.5, 0.25]], [0, 1], [0, 1], "x", "y", (0, 1), frames=[(0, 1)])


def streams(pdf):
    found = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S)
    return b"".join(zlib.decompress(one) for one in found if one[:1] == b"x")


def test_every_figure_as_png_and_pdf(tmp_path):
    folder = write_analysis(tmp_path / "made", "asr", (0.5,), ((0,), (1,)), 2, MEASURES[:4])
    (folder / "map_similarity.json").unlink()
    written = write_figures(tmp_path, read_analyses([folder]), Extras())
    names = {path.stem for path in written}
    assert names == {"patterns", "measures", "maps", "similarity_maps"}
    for path in written:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG" if path.suffix == ".png" else b"%PDF")
        if path.suffix == ".pdf":
            assert b"/FontFile2" in data and b"/Type3" not in data


def test_lines_are_vectors_and_files_the_same_again(tmp_path):
    chart = Chart("lines", LINES, "Lines", "", "I")
    for folder in ("a", "b"):
        with paper():
            figure = draw(chart)
            save(figure, tmp_path / folder, "lines")
    first, second = ((tmp_path / f / "lines.pdf").read_bytes() for f in ("a", "b"))
    assert first == second
    assert b"/Subtype /Image" not in first
    assert streams(first).count(b" l\n") > 5


@pytest.mark.parametrize(
    ("drawing", "width"),
    [(LINES, PAGE), (MATRIX, COLUMN), (Panels(LINES.panels[:1], "", ""), COLUMN)],
)
def test_figures_are_as_wide_as_columns(drawing, width):
    with paper():
        assert draw(Chart("n", drawing, "t", "", "P")).get_size_inches()[0] == width


def test_page_and_paper_show_the_same_numbers():
    with paper():
        axes = draw(Chart("n", LINES, "t", "", "P")).axes
    spec = describe(LINES)
    for panel, trace in zip(axes, spec["data"], strict=True):
        drawn = panel.lines[0]
        wanted = np.array([np.nan if y is None else y for y in trace["y"]], dtype=float)
        assert np.allclose(np.asarray(drawn.get_xdata(), float), np.asarray(trace["x"], float))
        assert np.allclose(np.asarray(drawn.get_ydata(), float), wanted, equal_nan=True)
    assert spec["data"][0]["error_y"]["array"] == pytest.approx([0.1, 0, 0.1])
    assert spec["data"][1]["x"][:2] == pytest.approx([-0.175, 0.175])  # heads around their block
    matrix = describe(MATRIX)
    assert matrix["data"][0]["z"] == [[1.0, None], [0.5, 0.25]]
    assert matrix["layout"]["shapes"][0]["x1"] == 1.5
    with paper():
        image = draw(Chart("n", MATRIX, "t", "", "P")).axes[0].images[0]
    assert np.ma.filled(np.ma.masked_invalid(image.get_array()), -1).tolist() == [
        [1, -1],
        [0.5, 0.25],
    ]


def test_names_that_look_like_numbers_stay_names():
    drawing = Heatmap([[1.0], [2.0]], ["AA"], ["0.1", "0.10"], "phone", "head")
    layout = describe(drawing)["layout"]
    assert layout["yaxis"]["type"] == "category" and layout["xaxis"]["type"] == "category"
    spans = Panels([("", [Line("a", ["full", "5"], [1.0, 2.0])])], "frames", "errors", whole=False)
    assert describe(spans)["layout"]["xaxis"]["type"] == "category"


def test_without_matplotlib_one_line_says_what_to_install(two_analyses, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'espnet_plugin\[report\]'"):
        write_figures(tmp_path, read_analyses(two_analyses), Extras())
    assert not list(tmp_path.iterdir())
