from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny_models import write_experiment

from espnet_plugin.bin import benchmark
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.timing import (
    interleaved_seconds,
    median_ratio,
    middle_half,
    peak_bytes,
)
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.actions import Drop
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, StackDescription


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    lines = []
    for i, size in enumerate((8000, 12000)):
        soundfile.write(directory / f"{i}.wav", generator.normal(0, 0.1, size), 16000)
        lines.append(f"utt-{i} {directory}/{i}.wav\n")
    (directory / "wav.scp").write_text("".join(lines))
    return directory


def test_refuses_speech_of_another_rate(data_dir: Path, tmp_path: Path) -> None:
    frontend = {"n_fft": 400, "hop_length": 160, "n_mels": 20}
    experiments = []
    for fs in (8000, 16000):
        experiments.append(write_experiment(tmp_path / f"asr_{fs}"))
        path = experiments[-1] / "config.yaml"
        config = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**config, "frontend_conf": {**frontend, "fs": fs}}))
    options = ["--data_dir", str(data_dir), "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="utt-0: .* has 16000 samples/s, not 8000"):
        benchmark.main(["--exp_dir", str(experiments[0]), *options])
    with pytest.raises(SystemExit, match=r"several sampling rates: \[8000, 16000\]"):
        benchmark.main(["--exp_dir", *map(str, experiments), *options])


def test_two_models_side_by_side(data_dir: Path, tmp_path: Path, capsys) -> None:
    threads = torch.get_num_threads()
    small = write_experiment(tmp_path / "small")
    large = write_experiment(tmp_path / "large", encoder_conf={"num_blocks": 4})
    try:
        benchmark.main([
            "--exp_dir", str(small), str(large), "--data_dir", str(data_dir),
            "--output_dir", str(tmp_path / "out"), "--seconds", "1", "2", "--batch", "1", "2",
            "--repeats", "2", "--threads", "1",
        ])  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    result = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert list(result["models"]) == ["small", "large"]
    one, two = result["models"].values()
    added = two["parameters"] - one["parameters"]
    assert added == two["encoder_parameters"] - one["encoder_parameters"] > 0
    assert one["checkpoint_bytes"] == (small / "valid.loss.ave.pth").stat().st_size
    assert two["macs_per_second"] > 1.3 * one["macs_per_second"]
    assert len(result["speeds"]) == 2 * 2 * 2
    for row in result["speeds"]:
        expected = row["encoder_seconds"] / (row["seconds"] * row["batch"])
        assert row["encoder_rtf"] == pytest.approx(expected)
        assert row["speed_ratio"] == 1.0 if row["model"] == "small" else row["speed_ratio"] > 0
    assert (tmp_path / "out" / "benchmark.png").is_file()
    page = (tmp_path / "out" / "benchmark.md").read_text()
    assert capsys.readouterr().out.endswith(page)
    assert f"|small|{one['parameters'] / 1e6:.3f}|" in page


def test_stacks_beside_experiments(data_dir: Path, tmp_path: Path, monkeypatch) -> None:
    """An edited file beside its experiment, under either option; the plot is left out where
    there is no matplotlib."""
    asr = write_experiment(tmp_path / "asr")
    stack = load_stack(asr)
    plan = BlockPlan(StackDescription("conformer", 2), (Drop(1),))
    apply_plan(stack, plan).save(tmp_path / "edited.pt")
    options = ["--data_dir", str(data_dir), "--seconds", "1", "--batch", "1", "--repeats", "1"]
    for folder in ("out", "plain"):
        benchmark.main(
            ["--exp_dir", str(asr), "--model", str(tmp_path / "edited.pt"), *options]
            + ["--output_dir", str(tmp_path / folder), "--threads", str(torch.get_num_threads())]
        )
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert (tmp_path / "out" / "benchmark.png").stat().st_size > 10000
    assert not (tmp_path / "plain" / "benchmark.png").exists()
    result = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    whole, edited = result["models"]["asr"], result["models"]["edited"]
    assert (whole["kind"], edited["kind"]) == ("experiment", "stack")
    blocks = [sum(n for p, n in m["parts"].items() if ".*." in p) for m in (whole, edited)]
    assert blocks[0] == 2 * blocks[1]
    assert edited["encoder_parameters"] == whole["encoder_parameters"] - blocks[1]
    assert edited["macs_per_second"] < whole["macs_per_second"]
    least, most = result["speeds"][1]["speed_ratio_middle_half"]
    assert least <= result["speeds"][1]["speed_ratio"] <= most


@pytest.mark.parametrize(
    "options, said",
    [
        (["--seconds", "0"], "--seconds must be more than 0"),
        (["--seconds", "0.001"], "--seconds 0.001: small: "),
        (["--ngpu", "1"], "--ngpu 1: torch sees no GPU here"),
    ],
)
def test_options_that_make_no_sense_are_one_line(data_dir, tmp_path, monkeypatch, options, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    layers = ((8, 10, 5), (8, 3, 2))
    config = Wav2Vec2Config(
        conv_layers=layers, width=16, blocks=1, heads=2, feed_forward=8, pos_groups=2
    )
    Wav2Vec2Stack(config).save(tmp_path / "small.pt")
    threads = ["--threads", str(torch.get_num_threads())]
    with pytest.raises(SystemExit) as caught:
        benchmark.main(["--model", str(tmp_path / "small.pt"), "--data_dir", str(data_dir),
                        "--output_dir", str(tmp_path / "out"), *threads, *options])  # fmt: skip
    assert str(caught.value).startswith(f"benchmark: {said}") and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_refuses_equal_names(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="benchmark: --name"):
        benchmark.main(["--exp_dir", "a/x", "b/x", "--data_dir", str(data_dir),
                        "--output_dir", str(tmp_path)])  # fmt: skip


def test_calls_run_in_turn_after_a_warm_up() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    times = interleaved_seconds(calls, repeats=3)
    assert order == ["a", "b"] * 4
    assert [len(one) for one in times.values()] == [3, 3]
    assert median_ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == 2.0
    assert middle_half([5.0, 1.0, 4.0, 2.0, 3.0], [1.0] * 5) == (2.0, 4.0)
    assert middle_half([3.0, 1.0], [1.0, 1.0]) == (1.0, 3.0)


def test_peak_memory_sees_an_array() -> None:
    size = 64 * 2**20
    peak = peak_bytes(lambda: torch.ones(size // 4).sum())
    assert 0.9 * size < peak < 1.5 * size
