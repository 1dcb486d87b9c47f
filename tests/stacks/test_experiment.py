"""Experiments load whole and strictly, from anywhere, and say in one line what is wrong."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import yaml

from espnet_plugin.stacks.experiment import ExperimentError, load_experiment
from espnet_plugin.stacks.untrained import create_untrained
from espnet_plugin.surgery.plan import BlockPlan

TOKENS = ["<blank>", "<unk>", "a", "b", "<sos/eos>"]
CONFIG = {
    "encoder": "reuse_conformer",
    "encoder_conf": {
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 16,
        "num_blocks": 3,
        "cnn_module_kernel": 3,
        "reuse_groups": [[0], [1, 2]],
    },
    "model_conf": {"ctc_weight": 1.0},
    "init": "xavier_uniform",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return create_untrained(tmp_path_factory.mktemp("exp") / "asr", CONFIG, TOKENS, seed=3)


@pytest.fixture
def exp(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "asr")


def test_the_model_has_all_the_parameters_of_the_file(exp):
    loaded = load_experiment(exp)
    state = torch.load(exp / "valid.loss.ave.pth")
    ours = loaded.model.state_dict()
    assert ours.keys() == state.keys()
    assert all(torch.equal(ours[k], state[k]) for k in state)
    assert not loaded.model.training
    assert loaded.token_list == TOKENS
    assert loaded.args.encoder == "reuse_conformer"
    assert loaded.model.encoder.groups == [[0], [1, 2]]
    assert loaded.checkpoint == exp / "valid.loss.ave.pth" and loaded.directory == exp


def test_seeds_give_the_same_parameters_and_leave_the_generator_alone(exp, tmp_path):
    torch.manual_seed(7)
    again = create_untrained(tmp_path / "again", CONFIG, TOKENS, seed=3)
    drawn = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(3))
    states = [torch.load(d / "valid.loss.ave.pth") for d in (exp, again)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_a_token_list_may_be_a_file(exp):
    config = yaml.safe_load((exp / "config.yaml").read_text())
    (exp / "lists").mkdir()
    (exp / "lists" / "tokens.txt").write_text("".join(f"{token}\n" for token in TOKENS))
    config["token_list"] = "lists/tokens.txt"
    (exp / "config.yaml").write_text(yaml.safe_dump(config))
    assert load_experiment(exp).token_list == TOKENS


def test_the_checkpoint_is_chosen_in_order(exp):
    state = exp / "valid.loss.ave.pth"
    others = ("9epoch.pth", "10epoch.pth", "latest.pth", "valid.acc.best.pth")
    for name in (*others, "valid.cer.ave_10best.pth"):
        shutil.copy(state, exp / name)
    args = yaml.safe_load((exp / "config.yaml").read_text())
    args["best_model_criterion"] = [["valid", "loss", "min"], ["valid", "acc", "max"]]
    (exp / "config.yaml").write_text(yaml.safe_dump(args))
    assert load_experiment(exp).checkpoint.name == "valid.loss.ave.pth"
    assert load_experiment(exp, "9epoch.pth").checkpoint.name == "9epoch.pth"
    for gone, then in (
        ("valid.loss.ave.pth", "valid.acc.best.pth"),
        ("valid.acc.best.pth", "valid.cer.ave_10best.pth"),
        ("valid.cer.ave_10best.pth", "latest.pth"),
        ("latest.pth", "10epoch.pth"),
    ):
        (exp / gone).unlink()
        assert load_experiment(exp).checkpoint.name == then


def test_paths_of_the_recipe_are_found_from_elsewhere(tmp_path, monkeypatch):
    recipe = tmp_path / "recipe"
    (recipe / "exp" / "stats").mkdir(parents=True)
    stats = {"count": 1, "sum": np.ones(80), "sum_square": np.ones(80) * 2}
    np.savez(recipe / "exp" / "stats" / "feats.npz", **stats)
    BlockPlan.from_groups([[0, 1], [2]]).save(recipe / "conf" / "plan.yaml")
    config = {
        **CONFIG,
        "encoder_conf": {**CONFIG["encoder_conf"], "reuse_groups": "conf/plan.yaml"},
        "normalize": "global_mvn",
        "normalize_conf": {"stats_file": "exp/stats/feats.npz"},
    }
    monkeypatch.chdir(recipe)
    create_untrained(recipe / "exp" / "asr", config, TOKENS)
    monkeypatch.chdir(tmp_path)
    loaded = load_experiment(recipe / "exp" / "asr")
    assert loaded.model.encoder.groups == [[0, 1], [2]]
    assert loaded.args.normalize_conf["stats_file"] == "exp/stats/feats.npz"


def refused(exp, message, checkpoint=None):
    with pytest.raises(ExperimentError, match=message) as caught:
        load_experiment(exp, checkpoint)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_named(exp, tmp_path):
    refused(tmp_path / "nowhere", "nowhere/config.yaml: not there")
    refused(exp, "5epoch.pth: not there .the directory has valid.loss.ave.pth", "5epoch.pth")
    (exp / "valid.loss.ave.pth").unlink()
    refused(exp, "no model to load")


@pytest.mark.parametrize("text", ["a: [", "", "5", "[1]", "encoder: conformer", "text"])
def test_configurations_that_are_none_are_refused(exp, text):
    (exp / "config.yaml").write_text(text)
    refused(exp, r"config\.yaml: (not YAML|no ESPnet ASR configuration)")


def test_a_model_that_cannot_be_built_is_said(exp):
    config = yaml.safe_load((exp / "config.yaml").read_text())
    config["encoder_conf"]["num_bloks"] = 3
    (exp / "config.yaml").write_text(yaml.safe_dump(config))
    refused(exp, "config.yaml: cannot build the model: .*num_bloks")


def test_parameters_that_do_not_fit_are_refused(exp):
    path = exp / "valid.loss.ave.pth"
    state = torch.load(path)
    key = "encoder.encoders.0.self_attn.linear_q.weight"
    for change, message in (
        ({**state, "extra": torch.ones(1)}, "Unexpected"),
        ({k: v for k, v in state.items() if k != key}, "Missing"),
        ({**state, key: torch.ones(3, 3)}, "size mismatch"),
    ):
        torch.save(change, path)
        refused(exp, f"valid.loss.ave.pth: does not hold the parameters.*{message}")


class Trap:
    def __reduce__(self):
        return (open, ("ran", "w"))


def test_files_that_are_no_checkpoints_are_refused_and_run_no_code(exp, monkeypatch):
    monkeypatch.chdir(exp)
    path = exp / "valid.loss.ave.pth"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(exp, "valid.loss.ave.pth: not a file of tensors")
    path.write_bytes(b"")
    refused(exp, "valid.loss.ave.pth: not a file of tensors")
    torch.save({"model": Trap()}, path)
    refused(exp, "valid.loss.ave.pth: not a file of tensors")
    assert not (exp / "ran").exists()
    torch.save({"model": {}, "epoch": 3}, path)
    refused(exp, "more than a model's tensors")
