"""load_stack knows by the content what a path holds, and says in one line what is wrong."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
import yaml

from espnet_plugin.stacks import StackError, load_stack
from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.stacks.untrained import create_untrained
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.actions import Drop, PruneHeads
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, StackDescription

TOKENS = ["<blank>", "<unk>", "a", "b", "<sos/eos>"]
SIZES = {"output_size": 16, "attention_heads": 2, "linear_units": 16, "num_blocks": 3}


def tiny(**changes) -> Wav2Vec2Stack:
    layers = ((8, 10, 5), (8, 3, 2))
    values = {"conv_layers": layers, "width": 16, "blocks": 3, "heads": 2, "feed_forward": 24}
    values.update(pos_kernel=8, pos_groups=2)
    return Wav2Vec2Stack(Wav2Vec2Config(**{**values, **changes})).eval()


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    conf = {**SIZES, "cnn_module_kernel": 3}
    config = {"encoder": "conformer", "encoder_conf": conf, "model_conf": {"ctc_weight": 1.0}}
    return create_untrained(tmp_path_factory.mktemp("exp") / "asr", config, TOKENS)


def test_a_saved_stack_with_its_edits(tmp_path):
    description = StackDescription("wav2vec2", 3)
    stack = apply_plan(tiny(), BlockPlan(description, (Drop(1), PruneHeads(2, (0,)))))
    stack.save(tmp_path / "stack.pt")
    loaded = load_stack(tmp_path / "stack.pt")
    assert loaded.block_numbers == (0, 2) and not loaded.training
    waveforms = torch.randn(2, 800)
    with torch.no_grad():
        assert torch.equal(loaded(waveforms)[0][-1], stack(waveforms)[0][-1])


@pytest.mark.parametrize("encoder", ["conformer", "transformer", "reuse_conformer"])
def test_espnet_experiments(tmp_path, encoder):
    conf = dict(SIZES)
    if encoder != "transformer":
        conf["cnn_module_kernel"] = 3
    if encoder == "reuse_conformer":
        conf["reuse_groups"] = [[0], [1, 2]]
    config = {"encoder": encoder, "encoder_conf": conf, "model_conf": {"ctc_weight": 1.0}}
    create_untrained(tmp_path / "asr", config, TOKENS)
    stack = load_stack(tmp_path / "asr")
    assert isinstance(stack, ConformerStack) and len(stack.blocks) == 3
    model = load_experiment(tmp_path / "asr").model
    waveforms, lengths = torch.randn(2, 8000), torch.tensor([8000, 6000])
    with torch.no_grad():
        expected, frames = model.encode(waveforms, lengths)
        hidden, found = stack(waveforms, lengths)
    assert found.tolist() == frames.tolist()
    for ours, theirs, n in zip(hidden[-1], expected, frames.tolist(), strict=True):
        assert (ours[:n] - theirs[:n]).abs().max() < 1e-5


RAW = {
    **dict.fromkeys(("frontend", "normalize", "specaug")),
    "input_size": 1,
    "model_conf": {"ctc_weight": 1.0},
}
PRUNED = {"block": 1, "do": "drop"}, {"block": 2, "do": "prune_heads", "heads": [0]}
MIMIC = ({"blocks": [0, 2], "do": "mimic", "hidden": 4, "layers": 2},)


@pytest.mark.parametrize("encoder", ["filtered_wav2vec2", "pruned_stack", "mimic_stack"])
def test_experiments_with_our_encoders(tmp_path, encoder):
    """As training writes them: without the checkpoint that it began with."""
    actions = list(MIMIC if encoder == "mimic_stack" else PRUNED)
    plan = {"stack": {"family": "wav2vec2", "blocks": 3}, "actions": actions}
    values = {"builder": "wav2vec2", "config": tiny().config.to_dict(), "plans": [plan]}
    conf = {"checkpoint": "gone.pt", "stack": values, "weighted_sum": encoder != "mimic_stack"}
    config = {**RAW, "encoder": encoder, "encoder_conf": conf}
    stack = load_stack(create_untrained(tmp_path / "asr", config, TOKENS))
    assert (stack.family, stack.takes, len(stack.plans)) == ("wav2vec2", "waveform", 1)
    assert len(stack.blocks) == (1 if encoder == "mimic_stack" else 2)
    model = load_experiment(tmp_path / "asr").model
    waveforms, lengths = torch.randn(2, 800), torch.tensor([800, 500])
    with torch.no_grad():
        hidden, found = stack(waveforms, lengths)
        expected, frames = model.encoder.stack.output(waveforms, lengths)
    assert torch.equal(hidden[-1], expected) and found.tolist() == frames.tolist()


@pytest.mark.parametrize(
    "part, name, conf",
    [
        ("encoder", "wav2vec2", {"w2v_url": "evil.pt"}),
        ("encoder", "HuBERT", {"hubert_url": "evil.pt"}),
        ("frontend", "s3prl", {"frontend_conf": {"upstream": "hubert_local"}}),
        ("decoder", "hugging_face_transformers", {"model_name_or_path": "evil"}),
        ("postencoder", "hugging_face_transformers", {"model_name_or_path": "evil"}),
    ],
)
def test_what_a_configuration_names_is_not_loaded(tmp_path, experiment, part, name, conf):
    """ESPnet has parts that unpickle other files; a directory or a stack may not name them."""
    copy = shutil.copytree(experiment, tmp_path / "asr")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump({**config, part: name, f"{part}_conf": conf}))
    assert f"its {part} is {name!r}; only" in refused(copy)
    if part in ("encoder", "frontend"):
        load_stack(experiment).save(tmp_path / "stack.pt")
        content = torch.load(tmp_path / "stack.pt")
        description = json.loads(content["stack"])
        description["config"].update({part: name, f"{part}_conf": conf})
        torch.save({**content, "stack": json.dumps(description)}, tmp_path / "stack.pt")
        assert f"its {part} is {name!r}; only" in refused(tmp_path / "stack.pt")


class Evil:
    def __reduce__(self):
        return exec, ("open('ran', 'w').close()",)


def test_an_experiment_runs_nothing(tmp_path, experiment, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Evil()))
    (tmp_path / "ran").unlink()  # the attack is real
    copy = shutil.copytree(experiment, tmp_path / "asr")
    torch.save({"encoder": Evil()}, copy / "valid.loss.ave.pth")
    assert "not a file of tensors" in refused(copy)
    with open(copy / "config.yaml", "a") as stream:
        stream.write("evil: !!python/object/apply:exec [\"open('ran', 'w').close()\"]\n")
    assert "not YAML" in refused(copy)
    assert not (tmp_path / "ran").exists()


def test_files_that_end_too_early(tmp_path, experiment):
    whole = tmp_path / "stack.pt"
    tiny().save(whole)
    copy = shutil.copytree(experiment, tmp_path / "asr")
    for path, named in ((whole, whole), (copy / "valid.loss.ave.pth", copy)):
        data = path.read_bytes()
        for part in (0.1, 0.5, 0.9, 0.999):
            path.write_bytes(data[: int(len(data) * part)])
            refused(named)


def test_the_name_of_a_file_does_not_matter(tmp_path, monkeypatch):
    tiny().save(tmp_path / "stack.pt")
    shutil.move(tmp_path / "stack.pt", tmp_path / "model.safetensors")
    assert load_stack(str(tmp_path / "model.safetensors")).family == "wav2vec2"
    monkeypatch.chdir(tmp_path)
    assert load_stack("model.safetensors").width == 16


def refused(path) -> str:
    with pytest.raises(StackError) as caught:
        load_stack(path)
    said = str(caught.value)
    assert said.startswith(str(path)) and "\n" not in said
    return said


def test_what_is_no_model_is_refused(tmp_path, experiment):
    path = tmp_path / "model.pt"
    assert "not there" in refused(path)
    assert "neither config.json nor config.yaml" in refused(tmp_path)
    for content, said in (
        (torch.zeros(3), "no model; name a fairseq checkpoint"),
        ({"a": torch.zeros(3)}, "no model that is known; name a fairseq checkpoint"),
        ({}, "no model that is known"),
        ({"model": {}, "cfg": None}, "no configuration"),
        ({"model": {}, "cfg": {"model": {"_name": "wav2vec2"}}}, "no encoder"),
        ({"model": 3, "cfg": {"model": {"_name": 3}}}, "no model that is known"),
        ({"format": "espnet_plugin stack 1"}, "not a saved stack"),
        ({"format": "espnet_plugin stack 9"}, "stack 1"),
    ):
        torch.save(content, path)
        assert said in refused(path)
    state = torch.load(experiment / "valid.loss.ave.pth")
    ours = {"encoder.stack.blocks.0.norm.weight": torch.zeros(3)}
    for content in (state, ours, {"model": state, "optimizers": []}):
        torch.save(content, path)
        assert "a model of ESPnet; name its directory" in refused(path)


def test_experiments_that_are_damaged(tmp_path, experiment):
    copy = shutil.copytree(experiment, tmp_path / "asr")
    (copy / "valid.loss.ave.pth").unlink()
    assert "no model to load" in refused(copy)
    (copy / "config.yaml").write_text("a: [")
    assert "not YAML" in refused(copy)


def test_paths_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"")
    for name in ("pipe", "missing", "file/below"):
        assert "not there" in refused(tmp_path / name)
    assert "empty" in refused(tmp_path / "file")
    assert "cannot be read: File name too long" in refused(tmp_path / ("a" * 300))


def test_the_package_is_imported_without_torch():
    code = "import sys, espnet_plugin.stacks; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
