"""One decoding as several processes gives what one process gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_plugin.bin import asr_inference_k2
from espnet_plugin.data.kaldi import read_table

FILES = ("text", "token", "token_int")
NAMES = ["utt-b", "utt-a", "utt-gone", "utt-c", "utt-d"]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Noise, and a recording that is not there: with four parts one of them has only this."""
    generator = np.random.default_rng(3)
    lines = []
    for name, size in zip(NAMES, (24000, 12000, 0, 16000, 20000), strict=True):
        path = tmp_path / "data" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        if size:
            soundfile.write(path, generator.normal(0, 0.1, size), 16000)
        lines.append(f"{name} {path}\n")
    (tmp_path / "data" / "wav.scp").write_text("".join(lines))
    return tmp_path / "data"


def command(*words: object) -> None:
    """One utterance a batch: what is padded beside another may differ by rounding."""
    options = ("--num_workers", 0, "--batch_size", 1, *words)
    asr_inference_k2.main([str(word) for word in options])


def same_results(one: Path, other: Path) -> None:
    for file in FILES:
        path = Path("1best_recog") / file
        assert (one / path).read_bytes() == (other / path).read_bytes()
    scores = [read_table(folder / "1best_recog" / "score") for folder in (one, other)]
    assert list(scores[0]) == list(scores[1])
    values = [[float(value) for value in table.values()] for table in scores]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_the_files_are_those_of_one_process(tiny_experiment, data_dir, tmp_path) -> None:
    options = ["--exp_dir", tiny_experiment, "--data_dir", data_dir, "--method", "greedy"]
    command(*options, "--output_dir", tmp_path / "one")
    command(*options, "--output_dir", tmp_path / "four", "--nj", 4)
    same_results(tmp_path / "one", tmp_path / "four")
    one, four = (json.loads((tmp_path / n / "rtf.json").read_text()) for n in ("one", "four"))
    assert list(one["failed"]) == list(four["failed"]) == ["utt-gone"]
    assert one["utterances"] == four["utterances"] == 5
    assert one["audio_seconds"] == pytest.approx(four["audio_seconds"])
    assert not (tmp_path / "four" / ".jobs").exists()


def test_more_processes_than_utterances(tiny_experiment, data_dir, tmp_path) -> None:
    (tmp_path / "keys").write_text("utt-c\nutt-a\n")
    command("--exp_dir", tiny_experiment, "--data_dir", data_dir, "--method", "greedy", "--nj", 3,
            "--key_file", tmp_path / "keys", "--output_dir", tmp_path / "out")  # fmt: skip
    assert list(read_table(tmp_path / "out" / "1best_recog" / "score")) == ["utt-c", "utt-a"]


def test_lattices_of_all_parts_are_in_one_store(tiny_experiment, lang, data_dir, tmp_path) -> None:
    from espnet_plugin.decode.store import LatticeStore

    options = ["--exp_dir", tiny_experiment, "--data_dir", data_dir, "--graph", lang / "HLG.pt"]
    command(*options, "--output_dir", tmp_path / "one")
    command(*options, "--output_dir", tmp_path / "two", "--nj", 2)
    same_results(tmp_path / "one", tmp_path / "two")
    store = LatticeStore(tmp_path / "two" / "lattices")
    assert store.utterances == NAMES and store.meta["kind"] == "HLG"
    assert [name for name in NAMES if store.places[name] is None] == ["utt-gone"]
    assert len(list(store.directory.glob("index-*.json"))) == 1
    stored = ["--from_lattices", store.directory, "--method", "nbest", "--num_paths", 3]
    command(*stored, "--output_dir", tmp_path / "nbest1")
    command(*stored, "--output_dir", tmp_path / "nbest2", "--nj", 2)
    same_results(tmp_path / "nbest1", tmp_path / "nbest2")


def test_a_part_that_fails_is_named(tiny_experiment, data_dir, tmp_path) -> None:
    with pytest.raises(SystemExit, match=r"[12]of2/log: the job failed: .*no_such\.pth"):
        command("--exp_dir", tiny_experiment, "--data_dir", data_dir, "--method", "greedy",
                "--nj", 2, "--checkpoint", "no_such.pth",
                "--output_dir", tmp_path / "out")  # fmt: skip
    assert not (tmp_path / "out" / "1best_recog").exists()
    with pytest.raises(SystemExit, match="--nj 0: it must be 1 or above"):
        command("--exp_dir", tiny_experiment, "--data_dir", data_dir, "--nj", 0,
                "--output_dir", tmp_path / "out")  # fmt: skip


def test_the_parts_end_with_the_command(tiny_experiment, data_dir, tmp_path, repo_root) -> None:
    generator = np.random.default_rng(0)
    soundfile.write(tmp_path / "long.wav", generator.normal(0, 0.1, 16000 * 60), 16000)
    (data_dir / "wav.scp").write_text(
        "".join(f"utt{i:04d} {tmp_path / 'long.wav'}\n" for i in range(1000))
    )
    words = ["--exp_dir", tiny_experiment, "--data_dir", data_dir, "--method", "greedy",
             "--num_workers", 0, "--nj", 2, "--output_dir", tmp_path / "out"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "espnet_plugin.bin.asr_inference_k2", *map(str, words)],
        cwd=repo_root, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    journals = [tmp_path / "out" / ".jobs" / f"{i}of2" / ".decoding.jsonl" for i in (1, 2)]
    deadline = time.monotonic() + 120
    while not all(journal.exists() for journal in journals):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    while processes_of(tmp_path / "out"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def processes_of(output_dir: Path) -> list[str]:
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            continue
        if str(output_dir).encode() in line:
            found.append(number)
    return found
