"""Updates of training and of healing, timed on a tiny experiment."""

from __future__ import annotations

import json

import pytest
import soundfile
import torch
from tiny_models import write_experiment


def test_both_are_timed(librispeech_root, tmp_path, capsys):
    import healing_update

    scp, text = [], []
    for number, path in enumerate(sorted(librispeech_root.glob("test-other/**/*.flac"))[:3]):
        samples, rate = soundfile.read(str(path), dtype="float32")
        soundfile.write(tmp_path / f"{number}.wav", samples[:rate], rate)
        scp.append(f"u{number} {tmp_path / f'{number}.wav'}\n")
        text.append(f"u{number} she sells\n")
    (tmp_path / "wav.scp").write_text("".join(scp))
    (tmp_path / "text").write_text("".join(text))
    experiment = write_experiment(tmp_path / "asr", encoder_conf={"num_blocks": 3})
    (tmp_path / "plan.yaml").write_text(
        "stack: {family: conformer, blocks: 3}\nactions:\n  - {block: 1, do: drop}\n"
    )
    options = ["--teacher", experiment, "--plan", tmp_path / "plan.yaml", "--data_dir", tmp_path]
    options += ["--train_seconds", 3, "--heal_seconds", 1, 3, "--turns", 2]
    threads = torch.get_num_threads()
    try:
        healing_update.main([*map(str, options), "--output", str(tmp_path / "out.json")])
    finally:
        torch.set_num_threads(threads)
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    found = [(row["update of"], row["batch, s"]) for row in rows]
    assert found == [("training", 3.0), ("healing", 1.0), ("healing", 3.0)]
    assert rows[0]["of the training's"] == pytest.approx(1.0)
    assert all(row["median, s"] > 0 for row in rows) and "| healing |" in capsys.readouterr().out
