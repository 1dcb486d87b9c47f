from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny_models import write_experiment

from espnet_plugin.bin import benchmark
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.stacks.timing import (
    encoder_call,
    interleaved_seconds,
    median_ratio,
    peak_bytes,
)


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


def test_speech_is_joined_and_cut(data_dir: Path) -> None:
    speech, lengths, rate = benchmark.speech_of(str(data_dir), 2.0, 3)
    assert speech.shape == (3, 32000) and lengths.tolist() == [32000] * 3 and rate == 16000
    first, _ = soundfile.read(data_dir / "0.wav", dtype="float32")
    second, _ = soundfile.read(data_dir / "1.wav", dtype="float32")
    expected = np.concatenate([first, second] * 5)[:96000]
    np.testing.assert_array_equal(speech.flatten().numpy(), expected)


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
    page = (tmp_path / "out" / "benchmark.md").read_text()
    assert capsys.readouterr().out.endswith(page)
    assert f"|small|{one['parameters'] / 1e6:.3f}|" in page


def test_refuses_equal_names(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="benchmark: --name"):
        benchmark.main(["--exp_dir", "a/x", "b/x", "--data_dir", str(data_dir),
                        "--output_dir", str(tmp_path)])  # fmt: skip


@pytest.mark.parametrize("option", ["interctc_use_conditioning", "ctc_trim"])
def test_the_call_is_what_the_model_does(option: str, tmp_path: Path) -> None:
    conf = {"interctc_layer_idx": [1], option: True}
    model = load_experiment(write_experiment(tmp_path / "asr", encoder_conf=conf)).model
    speech, lengths = torch.randn(2, 16000), torch.tensor([16000, 12000])
    with torch.no_grad():
        model.ctc.ctc_lo.bias[0] = 1e4  # all is blank, which ctc_trim cuts off
        (expected, _), frames = model.encode(speech, lengths)
    (found, _), found_frames, _ = encoder_call(model, speech, lengths)()
    assert torch.equal(found, expected) and torch.equal(found_frames, frames)
    assert (found.shape[1] < 10) == (option == "ctc_trim")


def test_calls_run_in_turn_after_a_warm_up() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    times = interleaved_seconds(calls, repeats=3)
    assert order == ["a", "b"] * 4
    assert [len(one) for one in times.values()] == [3, 3]
    assert median_ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == 2.0


def test_peak_memory_sees_an_array() -> None:
    size = 64 * 2**20
    peak = peak_bytes(lambda: torch.ones(size // 4).sum())
    assert 0.9 * size < peak < 1.5 * size
