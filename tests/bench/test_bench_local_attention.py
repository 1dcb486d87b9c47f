"""The benchmark of local attention measures every family, and says what it measured."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize("family", ["wav2vec2", "wavlm", "conformer"])
@pytest.mark.parametrize("training", [False, True])
def test_a_row_for_each_thing(family, training, tmp_path, capsys):
    import local_attention

    output = tmp_path / "out.json"
    options = ["--family", family, "--seconds", "1.5", "--blocks", "1", "--repeats", "1"]
    options += ["--window", "4", "--threads", "1", "--output", str(output)]
    local_attention.main([*options, *(["--training"] if training else [])])
    rows = json.loads(output.read_text())["rows"]
    names = ["module", "blocks"] + ([] if family == "conformer" else ["attention"])
    assert [row["what"] for row in rows] == names
    for row in rows:
        assert row["frames"] == 74 and row["window"] == 4
        assert row["times faster"] == pytest.approx(row["full, ms"] / row["local, ms"])
    assert "times faster" in capsys.readouterr().out
