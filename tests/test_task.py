"""ASRTask: the encoders are known in processes that training spawns, and in ESPnet 3."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from pathlib import Path

import pytest
import yaml
from espnet2.tasks.asr import ASRTask as EspnetASRTask
from espnet2.train.distributed_utils import resolve_distributed_mode

from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder
from espnet_plugin.task import ASRTask

ENCODER_CONF = {
    "output_size": 16,
    "attention_heads": 2,
    "linear_units": 16,
    "num_blocks": 4,
    "cnn_module_kernel": 3,
    "input_layer": "conv2d",
    "rel_pos_type": "latest",
    "pos_enc_layer_type": "rel_pos",
    "selfattention_layer_type": "rel_selfattn",
    "reuse_groups": 2,
}
TOKENS = ["<blank>", "<unk>", "A", "B", "<sos/eos>"]


@pytest.fixture
def arguments(tmp_path):
    """Builds the arguments of a training that stops once the model stands (--dry_run)."""

    def build(name: str, **encoder_conf):
        config = {"encoder": "reuse_conformer", "encoder_conf": {**ENCODER_CONF, **encoder_conf}}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
        (tmp_path / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
        return ASRTask.get_parser().parse_args(
            ["--config", str(tmp_path / f"{name}.yaml"), "--dry_run", "true", "--ngpu", "0"]
            + ["--token_list", str(tmp_path / "tokens.txt"), "--output_dir", str(tmp_path / name)]
            + ["--use_preprocessor", "false", "--model_conf", "ctc_weight=1.0"]
        )

    return build


@pytest.mark.timeout(600)  # ten seconds on a machine with nothing else to do
def test_a_spawned_process_builds_the_model(arguments):
    """As multi-GPU training does it: main_worker is pickled into a process that starts afresh."""
    args = arguments("spawned")
    resolve_distributed_mode(args)
    process = multiprocessing.get_context("spawn").Process(target=ASRTask.main_worker, args=(args,))
    process.start()
    process.join(timeout=400)
    assert process.exitcode == 0
    config = yaml.safe_load((Path(args.output_dir) / "config.yaml").read_text())
    assert config["encoder"] == "reuse_conformer"


def test_what_is_pickled_into_it_names_a_module_that_registers():
    assert b"espnet_plugin.task" in pickle.dumps(ASRTask.main_worker)
    assert b"espnet_plugin" not in pickle.dumps(EspnetASRTask.main_worker)


def test_the_configuration_holds_the_groups_and_no_plan_file(arguments, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "stack: {family: conformer, blocks: 4, model: exp/asr}\n"
        "actions:\n"
        "  - {block: 2, do: reuse_attention, leader: 1}\n"
        "  - {block: 3, do: reuse_attention, leader: 1}\n"
    )
    args = arguments("planned", reuse_groups=str(plan))
    model = ASRTask.build_model(args)
    assert isinstance(model.encoder, ReuseConformerEncoder)
    assert args.encoder_conf["reuse_groups"] == [[0], [1, 2, 3]]
    assert model.encoder.groups == [[0], [1, 2, 3]]


@pytest.mark.parametrize(
    "task", ["espnet_plugin.task.ASRTask", "espnet3.systems.esp2_asr.task.ASRTask"]
)
def test_espnet3_builds_the_model_by_the_task_key(task, monkeypatch):
    task_utils = pytest.importorskip(
        "espnet3.utils.task_utils", reason="ESPnet 3 comes with espnet >= 202609"
    )
    config = {
        "encoder": "reuse_conformer",
        "encoder_conf": dict(ENCODER_CONF),
        "model_conf": {"ctc_weight": 1.0},
        "token_list": TOKENS,
    }
    monkeypatch.setattr(sys, "argv", ["train"])
    model = task_utils.get_espnet_model(task, config)
    assert isinstance(model.encoder, ReuseConformerEncoder)
    assert model.encoder.groups == [[0, 1], [2, 3]]
