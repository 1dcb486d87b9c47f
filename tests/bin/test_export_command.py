"""The command that writes a model as an ONNX graph."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from tiny_models import write_experiment

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import onnxruntime

from espnet_plugin.bin import export as command
from espnet_plugin.stacks.asr import write_experiment as write_edited
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.arms import keep_plan


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("export") / "exp")


def test_a_model_with_its_ctc_layer(experiment, tmp_path, capsys) -> None:
    out = tmp_path / "asr.onnx"
    command.main(["--model", str(experiment), "--out", str(out), "--ctc"])
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "| frames | largest difference | largest output |" and len(table) == 5
    loaded = load_experiment(experiment)
    torch.manual_seed(0)
    speech = 0.1 * torch.randn(2, 9000)
    lengths = torch.tensor([8500, 5000])
    session = onnxruntime.InferenceSession(str(out))
    feeds = {"waveforms": speech.numpy(), "lengths": lengths.numpy()}
    found, frames = session.run(["log_probs", "frames"], feeds)
    with torch.no_grad():
        encoded, counts = loaded.model.encode(speech, lengths)
        expected = loaded.model.ctc.log_softmax(encoded)
    assert frames.tolist() == counts.tolist()
    for utterance, count in enumerate(frames):
        difference = expected[utterance, :count] - torch.from_numpy(found[utterance, :count])
        assert difference.abs().max() < 1e-4 * expected.abs().max()
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["tokens"]) == loaded.token_list and said["family"] == "conformer"


def test_an_edited_experiment(experiment, tmp_path) -> None:
    loaded = load_experiment(experiment)
    stack = load_stack(experiment)
    edited = apply_plan(stack, keep_plan("conformer", 2, [1]))
    write_edited(loaded, edited, tmp_path / "edited")
    command.main(["--model", str(tmp_path / "edited"), "--out", str(tmp_path / "a.onnx"), "--ctc"])
    said = onnxruntime.InferenceSession(str(tmp_path / "a.onnx")).get_modelmeta()
    assert said.custom_metadata_map["blocks"] == "[1]"


@pytest.mark.parametrize("conf", [{"norm_vars": True}, {"norm_means": False, "norm_vars": True}])
def test_normalisation_of_utterances(experiment, tmp_path, conf) -> None:
    shutil.copytree(experiment, tmp_path / "exp")
    config = tmp_path / "exp" / "config.yaml"
    values = {**yaml.safe_load(config.read_text()), "normalize_conf": conf}
    config.write_text(yaml.safe_dump(values))
    command.main(["--model", str(tmp_path / "exp"), "--out", str(tmp_path / "asr.onnx")])


def test_one_line_for_a_model_that_is_not_there(tmp_path) -> None:
    with pytest.raises(SystemExit, match="^export: .*nothing.pt: not there"):
        command.main(["--model", str(tmp_path / "nothing.pt"), "--out", str(tmp_path / "a.onnx")])
    with pytest.raises(SystemExit, match="^export: .*config.yaml: not there"):
        command.main(["--model", str(tmp_path), "--out", str(tmp_path / "a.onnx"), "--ctc"])
    assert not list(tmp_path.iterdir())
