"""bin.lattice on a store that a small model's decoding made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from tiny_models import write_experiment

from espnet_plugin.bin import lattice

pytest.importorskip("k2", reason="lattices are k2's")

NAMES = ["u1", "u2", "u3", "silent"]
Store = tuple[Path, dict[str, str]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of lattices of tokens, and the best path's texts."""
    from espnet_plugin.decode import Beams, CtcDecoder, LatticeWriter

    folder = tmp_path_factory.mktemp("lattices")
    # Not sharp: several paths lie within the beam.
    experiment = write_experiment(folder / "asr", sharpness=8.0)
    decoder = CtcDecoder.from_experiment(experiment, beams=Beams(output_beam=4.0))
    generator = np.random.default_rng(0)
    sizes = (16000, 24000, 12000, 0)
    waveforms = [generator.normal(0, 0.1, size).astype(np.float32) for size in sizes]
    decoded = decoder.decode(waveforms, NAMES)
    assert decoded.lattices is not None
    writer = LatticeWriter(folder / "store", decoder.meta(16000))
    writer.write(NAMES, decoded.lattices)
    writer.close()
    texts = {n: h.text or "" for n, h in zip(NAMES, decoded.hypotheses, strict=True)}
    return folder / "store", texts


def test_density(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lattice.main(["density", str(store[0]), "--out", str(tmp_path / "d.json")])
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    result = json.loads((tmp_path / "d.json").read_text())
    assert [row[0] for row in rows[1:-1]] == list(result["utterances"]) == NAMES[:3]
    assert result["missing"] == ["silent"]
    arcs = sum(int(row[2]) for row in rows[1:-1])
    frames = sum(int(row[1]) for row in rows[1:-1])
    assert result["total"]["density"] == pytest.approx(arcs / frames, abs=1e-4)
    assert result["total"]["density"] > 1


def test_nbest_lists_begin_with_the_best_path(store: Store, tmp_path: Path) -> None:
    lattice.main(["nbest", str(store[0]), "--num_paths", "4", "--out", str(tmp_path / "n.tsv")])
    rows = [line.split("\t") for line in (tmp_path / "n.tsv").read_text().splitlines()]
    assert rows[0][2:6] == ["score", "am_score", "lm_score", "lexicon_score"]
    for name in NAMES[:3]:
        own = [row for row in rows if row[0] == name]
        assert [row[1] for row in own] == ["1", "2", "3", "4"]
        assert own[0][6] == store[1][name]
        scores = [float(row[2]) for row in own]
        assert scores == sorted(scores, reverse=True)
        assert all(row[2] == row[3] and float(row[4]) == 0 for row in own)
    lattice.main(["nbest", str(store[0]), "--acoustic_scale", "0.5", "--num_paths", "1",
                  "--out", str(tmp_path / "h.tsv")])  # fmt: skip
    row = (tmp_path / "h.tsv").read_text().splitlines()[1].split("\t")
    assert float(row[2]) == pytest.approx(0.5 * float(row[3]), abs=1e-4)


def test_oracle_is_zero_for_a_text_of_the_lattice(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lattice.main(["nbest", str(store[0]), "--num_paths", "4", "--out", str(tmp_path / "n.tsv")])
    rows = [line.split("\t") for line in (tmp_path / "n.tsv").read_text().splitlines()]
    fourth = {row[0]: row[6] for row in rows if row[1] == "4"}
    fourth["silent"] = "two words"
    (tmp_path / "ref").write_text("".join(f"{n} {t}\n" for n, t in fourth.items()))
    lattice.main(["oracle", str(store[0]), "--ref", str(tmp_path / "ref"),
                  "--out", str(tmp_path / "o.json")])  # fmt: skip
    result = json.loads((tmp_path / "o.json").read_text())
    assert [result["utterances"][n]["oracle_errors"] for n in NAMES] == [0, 0, 0, 2]
    assert all(result["utterances"][n]["best_errors"] > 0 for n in NAMES[:3]
               if fourth[n] != store[1][n])  # fmt: skip
    assert result["total"]["oracle_errors"] == 2
    assert "oracle" in capsys.readouterr().out


def test_ctm_has_the_best_path_s_words(store: Store, tmp_path: Path) -> None:
    lattice.main(["ctm", str(store[0]), "--out", str(tmp_path / "w.ctm")])
    rows = [line.split() for line in (tmp_path / "w.ctm").read_text().splitlines()]
    values = json.loads((tmp_path / "w.json").read_text())
    for name, seconds in zip(NAMES[:3], (1.0, 1.5, 0.75), strict=True):
        own = [row for row in rows if row[0] == name]
        assert " ".join(row[4] for row in own) == store[1][name]
        starts = [float(row[2]) for row in own]
        assert starts == sorted(starts)
        # Padding of the batch gives an utterance up to a frame more than it has.
        assert all(float(row[2]) + float(row[3]) <= seconds + 0.04 for row in own)
        assert all(0 < float(row[5]) <= 1 for row in own)
        assert [value["word"] for value in values[name]] == [row[4] for row in own]
    assert any(float(row[5]) < 0.99 for row in rows)
    lattice.main(["ctm", str(store[0]), "--out", str(tmp_path / "s.ctm"), "--posterior_scale", "9"])
    sharp = [float(line.split()[5]) for line in (tmp_path / "s.ctm").read_text().splitlines()]
    assert sum(sharp) > sum(float(row[5]) for row in rows)


def test_svg(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lattice.main(["svg", str(store[0]), "--utterance", "u2", "--out", str(tmp_path / "a.svg")])
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    arcs = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("class") == "arc"]
    assert f"{len(arcs)} arcs" in capsys.readouterr().out
    best = [g[1].get("stroke") for g in arcs].count("#c0392b")
    assert best == len(store[1]["u2"].split())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["density", "absent"], "absent: no lattices here"),
        (["svg", "STORE", "--utterance", "u9", "--out", "x.svg"], "no lattice of u9"),
        (["svg", "STORE", "--utterance", "silent", "--out", "x.svg"], "silent has no lattice"),
        (["nbest", "STORE", "--num_paths", "0"], "num_paths"),
        (["ctm", "STORE", "--out", "x.ctm", "--posterior_scale", "0"], "posterior scale"),
        (["oracle", "STORE", "--ref", "absent"], "absent"),
        (["density", "STORE", "--lm_scale", "-1"], "scale lm"),
    ],
)
def test_faults_are_one_line(store: Store, command: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        lattice.main([str(store[0]) if word == "STORE" else word for word in command])
    assert str(stopped.value).startswith("lattice: ")
    assert message in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_damaged_stores_and_directories_are_one_line(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(store[0], tmp_path / "copy")
    with pytest.raises(SystemExit, match="lattice: .*Is a directory"):
        lattice.main(["density", str(copy), "--out", str(copy)])
    (copy / "meta.json").write_text("{")
    with pytest.raises(SystemExit, match="lattice: .*meta.json: damaged"):
        lattice.main(["density", str(copy)])
