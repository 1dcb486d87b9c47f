"""The command report: what it writes, and its one-line errors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from analysis_files import write_analysis  # noqa: E402

from espnet_plugin.bin.report import main  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_analysis(
        tmp_path_factory.mktemp("analysis") / "one",
        seconds=(0.5,),
        measures=("patterns", "examples"),
    )


def test_page_and_figures(folder, tmp_path):
    out, figures = tmp_path / "page.html", tmp_path / "figures"
    main(["--analysis", str(folder), "--out", str(out), "--figures", str(figures)])
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    names = {path.name for path in figures.iterdir()}
    wanted = {"maps", "patterns"}
    assert names == {f"{name}.{kind}" for name in wanted for kind in ("png", "pdf")}


def message(*options):
    with pytest.raises(SystemExit) as caught:
        main([str(one) for one in options])
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_errors_are_one_line(folder, tmp_path):
    out = ("--out", tmp_path / "page.html")
    assert "give --out, --figures or both" in message("--analysis", folder)
    assert f"{tmp_path}: no analysis" in message("--analysis", tmp_path, *out)
    (tmp_path / "attention.json").write_text('{"schema": "espnet_plugin/attention/1"}')
    assert "attention.json: has schema" in message("--analysis", tmp_path, *out)
    (tmp_path / "attention.json").write_text("{")
    assert "attention.json: not JSON" in message("--analysis", tmp_path, *out)
    missing = tmp_path / "nothing.yaml"
    assert "nothing.yaml" in message("--analysis", folder, "--plan", missing, *out)
    assert "does not hold curves" in message(
        "--analysis", folder, "--curves", folder / "patterns.json", *out
    )
    assert "does not hold a benchmark" in message(
        "--analysis", folder, "--benchmark", folder / "patterns.json", *out
    )
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "examples.json").write_text((folder / "examples.json").read_text())
    assert "examples.npz: cannot read it" in message("--analysis", tmp_path / "one", *out)
    assert not (tmp_path / "page.html").exists()
