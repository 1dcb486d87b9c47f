"""analyze: its files, killed and gone on, in shards, and what it says to bad input."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from espnet_plugin.analysis.attention import MEASURES
from espnet_plugin.analysis.maps.attention_report import AnalysisError, load_report
from espnet_plugin.analysis.suite.results import load_index
from espnet_plugin.analysis.suite.shards import shards_dir
from espnet_plugin.bin import analyze
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

ROOT = Path(__file__).parents[2]
LAYOUT = {
    "conv_layers": ((8, 10, 5), (8, 8, 4), (8, 8, 4), (8, 4, 4)),
    "width": 16,
    "blocks": 3,
    "heads": 2,
    "feed_forward": 24,
    "pos_kernel": 8,
    "pos_groups": 2,
}
SHORT = ("attention", "map_similarity", "patterns")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """stack.pt, other.pt and a Kaldi directory, data."""
    home = tmp_path_factory.mktemp("home")
    for seed, name in enumerate(("stack.pt", "other.pt")):
        torch.manual_seed(seed)
        Wav2Vec2Stack(Wav2Vec2Config(**LAYOUT)).save(home / name)
    (home / "data").mkdir()
    noise, lines = np.random.default_rng(0), []
    for n in range(7):
        path = home / "data" / f"{n}.wav"
        soundfile.write(path, noise.normal(0, 0.1, 8000 + 800 * n), 16000)
        lines.append(f"utt{n} {path}\n")
    (home / "data" / "wav.scp").write_text("".join(lines))
    return home


def command(home, out, *more, model="stack.pt", measures=SHORT):
    start = ["--model", home / model, "--data", home / "data", "--out", out, "--num_threads", 1]
    return [str(o) for o in [*start, "--batch_seconds", 1.3, "--measures", *measures, *more]]


@pytest.fixture(scope="module")
def whole(home):
    out = home / "whole"
    analyze.main(command(home, out))
    return out


def files(out):
    """What is in a directory, without dates."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.suffix == ".json":
            found[name] = json.loads(path.read_text())
            del found[name]["environment"]["date"]
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def test_the_files_are_those_of_the_schema(home, whole):
    index = load_index(whole)
    assert index["schema"] == "espnet_plugin/analysis/1" and set(index["measures"]) == set(SHORT)
    names = {"analysis.json"}
    for name, listed in index["measures"].items():
        assert listed["json"] == f"{name}.json" and listed["npz"] == f"{name}.npz"
        assert listed["tables"] == {name: f"tables/{name}.csv"}
        names |= {listed["json"], listed["npz"], *listed["tables"].values()}
        content = json.loads((whole / listed["json"]).read_text())
        version = 2 if name == "attention" else 1
        assert content["schema"] == f"espnet_plugin/{name}/{version}"
        assert content["model"] == index["model"] and content["data"] == index["data"]
        assert content["options"]["batch_seconds"] == 1.3 and "sources" in content
        assert content["environment"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert set(files(whole)) == names and not shards_dir(whole).exists()
    model, data = index["model"], index["data"]
    assert (model["family"], model["blocks"], model["heads"]) == ("wav2vec2", 3, [2, 2, 2])
    assert (data["utterances"], data["rate"]) == (7, 16000)
    assert data["seconds"] == pytest.approx((7 * 8000 + 21 * 800) / 16000)


def test_tables_and_arrays_hold_the_figures_of_the_json(whole):
    report = load_report(whole / "attention.json")
    with open(whole / "tables" / "attention.csv") as stream:
        rows = list(csv.DictReader(stream))
    heads = [(block["block"], head) for block in report["blocks"] for head in block["heads"]]
    arrays = np.load(whole / "attention.npz")
    assert len(rows) == len(heads) == 6
    for n, (row, (block, head)) in enumerate(zip(rows, heads, strict=True)):
        assert (int(row["block"]), int(row["head"])) == (block, head["head"])
        assert row["category"] == head["category"]
        for name in MEASURES:
            assert float(row[name]) == head[name] == arrays[name][n]
    similarity = json.loads((whole / "map_similarity.json").read_text())["similarity"]
    assert report["similarity"] == similarity
    assert np.load(whole / "map_similarity.npz")["similarity"].tolist() == similarity
    patterns = json.loads((whole / "patterns.json").read_text())
    scores = np.load(whole / "patterns.npz")
    assert scores["names"].tolist() == [f"utt{n}" for n in range(7)]
    for block, mean in zip(patterns["blocks"], scores["scores"].mean(0), strict=True):
        np.testing.assert_allclose(list(block["scores"].values()), mean, rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", [2, 9])
def test_shards_merge_to_the_same_files(home, whole, tmp_path, count):
    for shard in range(count, 0, -1):
        analyze.main(command(home, tmp_path, "--num_shards", count, "--shard", shard))
    assert not (tmp_path / "analysis.json").exists()
    analyze.main(command(home, tmp_path, "--merge"))
    assert files(tmp_path) == files(whole)


def test_after_a_kill_it_goes_on(home, whole, tmp_path, caplog):
    script = (
        "import os, signal, sys\n"
        "from espnet_plugin.analysis.suite import run\n"
        "from espnet_plugin.bin import analyze\n"
        "update, seen = run.Pass.update, []\n"
        "def stopping(self, batch):\n"
        "    if len(seen) == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    seen.append(batch)\n"
        "    update(self, batch)\n"
        "run.Pass.update = stopping\n"
        "analyze.main(sys.argv[1:])\n"
    )
    options = command(home, tmp_path, "--save_seconds", 0)
    done = subprocess.run([sys.executable, "-c", script, *options], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in shards_dir(tmp_path).iterdir()] == ["1-of-1.pt"]
    caplog.set_level("INFO")
    analyze.main(options)
    assert re.search(r"3 of \d+ batches are done already", caplog.text)
    assert files(tmp_path) == files(whole)


def test_shards_that_are_missing_unfinished_or_foreign_are_refused(home, tmp_path):
    def merge(*more):
        with pytest.raises(SystemExit) as stopped:
            analyze.main(command(home, tmp_path, "--merge", *more))
        return str(stopped.value).replace(str(tmp_path), "OUT")

    assert merge() == "analyze: OUT/.shards: shards to merge: none; give --num_shards"
    analyze.main(command(home, tmp_path, "--num_shards", 3, "--shard", 2))
    (shards_dir(tmp_path) / ".tmp-1-1-of-2.pt").write_text("")  # of a job killed while it wrote
    assert merge() == (
        "analyze: OUT/.shards: of 3 shards there is no 1, no 3; run what is missing first"
    )
    for shard in (1, 3):
        analyze.main(command(home, tmp_path, "--num_shards", 3, "--shard", shard))
    path = shards_dir(tmp_path) / "3-of-3.pt"
    content = torch.load(path)
    torch.save({**content, "done": 0}, path)
    assert "3-of-3.pt: not finished (0 of 1 batches); run it again" in merge()
    analyze.main(command(home, tmp_path, "--num_shards", 3, "--shard", 3, "--seed", 1))
    assert "3-of-3.pt: a shard of another analysis (--seed differs)" in merge()
    path.write_bytes(b"?")
    assert "3-of-3.pt: not a file of tensors" in merge()
    analyze.main(command(home, tmp_path, "--num_shards", 3, "--shard", 3, model="other.pt"))
    assert "3-of-3.pt: a shard of another analysis (the model differs)" in merge()
    analyze.main(command(home, tmp_path, "--num_shards", 4, "--shard", 3))
    assert merge() == "analyze: OUT/.shards: shards to merge: of 3 and of 4; give --num_shards"
    # a shard that is wrong is begun anew
    analyze.main(command(home, tmp_path, "--num_shards", 3, "--shard", 3))
    analyze.main(command(home, tmp_path, "--num_shards", 3, "--merge"))
    assert load_index(tmp_path)["data"]["utterances"] == 7


def test_a_directory_holds_one_analysis(home, tmp_path):
    analyze.main(command(home, tmp_path, measures=["attention"]))
    assert load_report(tmp_path / "attention.json")["similarity"] is None
    analyze.main(command(home, tmp_path, measures=["patterns"]))
    assert set(load_index(tmp_path)["measures"]) == {"attention", "patterns"}
    (tmp_path / "mine.txt").write_text("mine")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(SystemExit, match="analyze: .* of another model .*give another --out, or"):
        analyze.main(command(home, tmp_path, measures=["patterns"], model="other.pt"))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    analyze.main(command(home, tmp_path, "--overwrite", measures=["patterns"], model="other.pt"))
    assert set(load_index(tmp_path)["measures"]) == {"patterns"}
    there = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert there == {"analysis.json", "mine.txt", "patterns.json", "patterns.npz"} | {
        "tables/patterns.csv"
    }


def test_bad_input_is_one_clear_line(home, tmp_path):
    (tmp_path / "short").mkdir()
    soundfile.write(tmp_path / "short" / "a.wav", np.zeros(100), 16000)
    soundfile.write(tmp_path / "short" / "b.wav", np.zeros(8000), 16000)
    scp = "".join(f"{n} {tmp_path}/short/{n}.wav\n" for n in "ab")
    (tmp_path / "short" / "wav.scp").write_text(scp)
    soundfile.write(tmp_path / "slow.wav", np.zeros(8000), 8000)
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "wav.scp").write_text(f"slow {tmp_path}/slow.wav\n")
    (tmp_path / "empty.jsonl").write_text("")
    good = ["--model", home / "stack.pt", "--data", home / "data"]
    for options, message in (
        (["--model", tmp_path, "--data", home / "data"], "neither config.json nor config.yaml"),
        (["--model", home / "stack.pt", "--data", tmp_path], "wav.scp: not there"),
        ([*good[:3], tmp_path / "slow"], "slow: .*has 8000 samples/s, not 16000"),
        ([*good[:3], tmp_path / "short"], "a: an utterance has 100 samples"),
        ([*good[:3], tmp_path / "empty.jsonl"], "empty.jsonl: "),
        ([*good, "--measures", "entropy"], "no measure 'entropy' .there are attention, "),
        ([*good, "--shard", 1], "--shard needs --num_shards"),
        ([*good, "--num_shards", 2], "measure each --shard, then --merge"),
        ([*good, "--num_shards", 2, "--shard", 3], "--shard must be from 1 to 2, not 3"),
        ([*good, "--batch_seconds", 0], "no batches of 0.0 s"),
        ([*good, "--alignments", tmp_path / "no"], "no"),
    ):
        with pytest.raises(SystemExit, match=f"^analyze: .*{message}") as stopped:
            analyze.main([str(o) for o in ["--out", tmp_path / "out", *options]])
        assert "\n" not in str(stopped.value)
    assert not (tmp_path / "out" / "analysis.json").exists()
    with pytest.raises(AnalysisError, match="cannot read the analysis"):
        load_index(tmp_path / "out")
