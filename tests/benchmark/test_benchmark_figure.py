from __future__ import annotations

import sys
from pathlib import Path

import pytest

from espnet_plugin.benchmark.figure import plot_benchmark


def result(models: int) -> dict:
    names = [f"m{i}" for i in range(models)]
    rows = [
        {"model": name, "seconds": seconds, "batch": batch, "encoder_rtf": 0.01 * seconds + i,
         "peak_bytes": 1e6 * batch * seconds}
        for i, name in enumerate(names) for seconds in (5.0, 15.0) for batch in (1, 8)
    ]  # fmt: skip
    sizes = {name: {"parameters": 1_000_000, "macs_per_second": 2e9} for name in names}
    return {"models": sizes, "speeds": rows}


@pytest.mark.parametrize("models", [1, 12])
def test_a_figure_of_any_number_of_models(models: int, tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image", reason="matplotlib is not installed")
    plot_benchmark(result(models), tmp_path / "benchmark.png")
    pixels = image.imread(tmp_path / "benchmark.png")
    assert pixels.shape[1] > 1000 and pixels.std() > 0.01
    assert [path.name for path in tmp_path.iterdir()] == ["benchmark.png"]


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="^the figure needs matplotlib: pip install matplotlib$"):
        plot_benchmark(result(1), tmp_path / "benchmark.png")
    assert not (tmp_path / "benchmark.png").exists()
