"""Figures without matplotlib say what to install (with it, see the tests of the command)."""

from __future__ import annotations

import sys

import pytest
import torch

from espnet_plugin.report.figures_attention import plot_maps, plot_measures, plot_similarity

HEAD = {
    "category": "diagonal",
    "globalness": 1.0,
    "verticality": -1.0,
    "diagonality": -0.1,
    "cumulative_diagonality": 0.9,
}
REPORT = {
    "blocks": [{"block": 0, "shares_map_of": None, "heads": [HEAD]}],
    "groups": [[0]],
    "similarity": [[1.0]],
}


@pytest.mark.parametrize(
    "plot",
    [
        lambda path: plot_measures(REPORT, path),
        lambda path: plot_similarity(REPORT, path),
        lambda path: plot_maps([torch.eye(3)[None]], REPORT, "utt", path),
    ],
)
def test_without_matplotlib_one_line_says_what_to_install(plot, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'espnet_plugin\[report\]'"):
        plot(tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())
