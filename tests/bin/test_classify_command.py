"""bin/classify: all steps on some real recordings, and one line for what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml

from espnet_plugin.bin.classify import main

STACK = dict(
    conv_layers=[[16, 80, 40], [16, 8, 8]],
    feature_norm="layer",
    width=16,
    blocks=3,
    heads=2,
    feed_forward=32,
    norm_first=True,
    pos_kernel=4,
    pos_groups=2,
    normalize_waveform=True,
)


@pytest.fixture(scope="module")
def corpus(data_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for digit in (1, 6):
        for index in (0, 1, 5, 6, 7):
            for speaker in ("jackson", "theo"):
                name = f"{digit}_{speaker}_{index}.wav"
                shutil.copy(data_root / "fsdd" / "recordings" / name, folder / name)
    return folder


def test_all_steps(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["data", "--corpus_dir", str(corpus), "--out", "data"])
    conf = {"stack": STACK, "train": {"max_updates": 4}, "batch_seconds": 4}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(conf))
    shapes = [{"kind": "linear", "layers": 2, "hidden": 4}]
    stage = {"max_updates": 3, "interval": 3}
    study = {"mimics": shapes, "stage1": stage, "stage2": stage, "batch_seconds": 4}
    (tmp_path / "mimics.yaml").write_text(yaml.safe_dump(study))
    for task, begin in (("word", []), ("speaker", ["--model", "exp/word/stack.pt"])):
        on, both = ["--task", task, "--exp", f"exp/{task}"], ["--train", "data/train"]
        main(["train", *on, *both, "--config", "train.yaml", *begin])
        both += ["--test", "data/test"]
        main(["evaluate", *on, "--test", "data/test"])
        main(["curves", *on, *both, "--frames", "60", "--core", "1"])
        main(["mimics", *on, *both, "--config", "mimics.yaml"])
        main(["time", *on, "--test", "data/test", "--recordings", "3", "--threads", "1"])
    said = capsys.readouterr().out
    assert "/8 right" in said and "block_influence" in said and "linear2_4" in said
    assert json.loads((tmp_path / "exp/speaker/train.json").read_text())["model"]

    (tmp_path / "intro.md").write_text("# Digits\n\nSome words.\n")
    report = ["report", "exp/word", "exp/speaker", "--intro", "intro.md", "--out", "RESULTS.md"]
    main(report)
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.startswith("# Digits\n\nSome words.\n\n## Word\n")
    assert "## Speaker" in text and "| linear, 2 × 4 |" in text and "| head on z alone |" in text
    right = json.loads((tmp_path / "exp/word/accuracy.json").read_text())["right"]
    assert f"{100 * right / 8:.1f} % (" in text
    for line in text.splitlines():  # tables are whole
        if line.startswith("| "):
            assert line.endswith(" |")
    if find_spec("matplotlib") is not None:
        main([*report, "--plot", "curves.png"])
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
        assert "](curves.png)" in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["data", "--corpus_dir", "nowhere", "--out", "o"], "nowhere: no recordings"),
        (["evaluate", "--task", "word", "--exp", "none", "--test", "x"], "head.pt: not there"),
        (["report", "none", "--intro", "i", "--out", "o"], "none: no results"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(args)
    said = str(stopped.value)
    assert said.startswith("classify: ") and message in said and "\n" not in said


def test_the_recipe_prepares_and_explains_itself(corpus, tmp_path, repo_root):
    run = ["bash", str(repo_root / "egs/fsdd/cls1/run.sh"), "--python", sys.executable]

    def bash(*args: str) -> subprocess.CompletedProcess:
        return subprocess.run([*run, *args], capture_output=True, text=True, timeout=120)

    assert "--corpus_dir" in bash("--help").stdout
    assert "no option --nothing" in bash("--nothing", "1").stderr
    work = ["--workdir", str(tmp_path / "work"), "--stop_stage", "0"]
    assert "not there" in bash(*work, "--corpus_dir", str(tmp_path / "absent")).stderr
    done = bash(*work, "--corpus_dir", str(corpus))
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "work/data/train/wav.scp").read_text().splitlines()) == 12
