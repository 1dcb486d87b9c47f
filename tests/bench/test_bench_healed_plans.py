"""Plans healed alike and compared, on a tiny experiment and real speech."""

from __future__ import annotations

import json

import pytest
import soundfile
import torch
from tiny_models import write_experiment

pytest.importorskip("k2", reason="decodes with k2")

DROP = "stack: {family: conformer, blocks: 3}\nactions:\n  - {block: NUMBER, do: drop}\n"


@pytest.fixture
def speech(librispeech_root, tmp_path):
    """Four utterances of a second."""
    folder = tmp_path / "data"
    folder.mkdir()
    scp, text = [], []
    for number, path in enumerate(sorted(librispeech_root.glob("test-other/**/*.flac"))[:4]):
        samples, rate = soundfile.read(str(path), dtype="float32")
        soundfile.write(folder / f"{number}.wav", samples[:rate], rate)
        scp.append(f"u{number} {folder / f'{number}.wav'}\n")
        text.append(f"u{number} she sells sea shells\n")
    (folder / "wav.scp").write_text("".join(scp))
    (folder / "text").write_text("".join(text))
    return folder


def test_models_are_healed_decoded_timed_and_compared(speech, tmp_path, capsys):
    import healed_plans

    threads = torch.get_num_threads()
    experiment = write_experiment(tmp_path / "asr", encoder_conf={"num_blocks": 3}, sharpness=3.0)
    for number in (0, 1):
        (tmp_path / f"{number}.yaml").write_text(DROP.replace("NUMBER", str(number)))
    out = tmp_path / "out"
    options = ["--teacher", experiment, "--plan", tmp_path / "0.yaml", tmp_path / "1.yaml"]
    options += ["--name", "a", "b", "--data_dir", speech, "--valid_data_dir", speech]
    options += ["--test", speech, "--seeds", 3, 4, "--seconds", 1, "--repeats", 2, "--out", out]
    options += ["--heal_args=--max_updates 1 --batch_seconds 3", "--output", tmp_path / "o.json"]
    try:
        healed_plans.main(list(map(str, options)))
        first = capsys.readouterr().out
        made = {path: path.stat().st_mtime_ns for path in out.rglob("*.pth")}
        healed_plans.main(list(map(str, options)))  # nothing is made again
    finally:
        torch.set_num_threads(threads)
    assert made == {path: path.stat().st_mtime_ns for path in out.rglob("*.pth")}
    assert {path.parent.relative_to(out).as_posix() for path in made} == {
        "a/3", "a/4", "b/3", "b/4",
    }  # fmt: skip
    rows = {row["model"]: row for row in json.loads((tmp_path / "o.json").read_text())["rows"]}
    assert list(rows) == ["original", "a", "b"]
    assert rows["a"]["ctc − a"] == "+0.00 (+0.00 to +0.00)" and rows["a"]["blocks"] > 1
    assert rows["original"]["whole"] == pytest.approx(1.0)
    assert rows["b"]["ctc, %"].count(",") == 1 and "| b |" in first
