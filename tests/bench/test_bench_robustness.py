"""The robustness benchmark with a model of random parameters: nothing is lost."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_models import write_experiment

pytest.importorskip("k2", reason="it decodes with k2")


def test_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import robustness

    source = tmp_path / "source"
    source.mkdir()
    generator = np.random.default_rng(1)
    for i in range(6):
        samples = generator.normal(0, 0.1, 8000 + 1600 * i)
        soundfile.write(source / f"u{i}.wav", samples, 16000)
    names = [f"u{i}" for i in range(6)]
    (source / "wav.scp").write_text("".join(f"{n} {source}/{n}.wav\n" for n in names))
    (source / "text").write_text("".join(f"{n} the lazy dog\n" for n in names))
    exp_dir = write_experiment(tmp_path / "exp")
    options = f"--work {tmp_path}/work --data_dirs {source} --exp_dir {exp_dir} --methods ctc "
    options += f"--utterances 8 --batch_seconds 2 --output {tmp_path}/r.json"
    monkeypatch.setattr(sys, "argv", ["robustness.py", *options.split()])
    robustness.main()
    (run,) = json.loads((tmp_path / "r.json").read_text())["runs"]
    assert run["utterances"] == 8 and run["ids wrong in"] == "no file"
    assert run["batches seen"] >= 1 and run["last quarter MiB"] > 50
    text = tmp_path / "work" / "ctc" / "1best_recog" / "text"
    text.write_text("".join(line for line in text.open() if not line.startswith("u3")))
    names = [line.split()[0] for line in (tmp_path / "work" / "data" / "wav.scp").open()]
    assert robustness.missing_ids(tmp_path / "work" / "ctc", names) == {"text": ["u3"]}
