"""Encoders that are stacks, trained by ESPnet on real speech, resumed, decoded and packed.

The checkpoint that training begins with is deleted once it has begun.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from stack_checkpoints import small_checkpoint

from espnet_plugin.bin import asr_inference_k2
from espnet_plugin.encoders.stack_encoder import StackEncoder
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.surgery.arms import filter_plan
from espnet_plugin.task import ASRTask

pytestmark = pytest.mark.timeout(600)  # some ten seconds on a machine with nothing else to do

MASKS = {"mask_prob": 0.2, "channel_mask_prob": 0.1, "channel_mask_length": 4}
ENCODERS: dict[str, dict[str, Any]] = {
    "filtered_wav2vec2": {
        "plan": "plan.yaml",
        "freeze_feature_extractor": True,
        "freeze_finetune_updates": 3,
        "layer_drop": 0.1,
        "weighted_sum": True,
        **MASKS,
    },
    "pruned_stack": {"keep_blocks": [0, 2], "freeze_finetune_updates": 3},
    "mimic_stack": {"hidden": 16, "kind": "transformer", "freeze_finetune_updates": 3},
}
PER_EPOCH = 2  # updates, of two passes each


@pytest.fixture(scope="module")
def data(tmp_path_factory, librispeech_root) -> Path:
    """Eight short utterances with transcripts, and the letters in these."""
    folder = tmp_path_factory.mktemp("data")
    said = {}
    for path in sorted((librispeech_root / "test-other").rglob("*.trans.txt")):
        for line in path.read_text().splitlines():
            name, _, words = line.partition(" ")
            said[name] = (path.parent / f"{name}.flac", words)
    found = sorted(sorted(said, key=lambda n: (soundfile.info(said[n][0]).frames, n))[:8])
    (folder / "wav.scp").write_text("".join(f"{name} {said[name][0]}\n" for name in found))
    (folder / "text").write_text("".join(f"{name} {said[name][1]}\n" for name in found))
    letters = sorted({letter for name in found for letter in said[name][1].replace(" ", "")})
    tokens = ["<blank>", "<unk>", "<space>", *letters, "<sos/eos>"]
    (folder / "tokens.txt").write_text("".join(f"{token}\n" for token in tokens))
    return folder


def train(config: Path, data: Path, experiment: Path, epochs: int) -> None:
    options = ["--config", config, "--output_dir", experiment, "--max_epoch", epochs]
    options += ["--ngpu", 0, "--resume", "true", "--token_list", data / "tokens.txt"]
    for part in ("train", "valid"):
        options += [f"--{part}_shape_file", data / "wav.scp"]
        options += [f"--{part}_data_path_and_name_and_type", f"{data / 'wav.scp'},speech,sound"]
        options += [f"--{part}_data_path_and_name_and_type", f"{data / 'text'},text,text"]
    ASRTask.main(cmd=[str(option) for option in options])


def write_config(path: Path, name: str, checkpoint: str) -> None:
    conf = {"checkpoint": checkpoint, **ENCODERS[name]}
    if "plan" in conf:
        filter_plan("wav2vec2", 4, [1, 2], "share").save(path.parent / "plan.yaml")
        conf["plan"] = str(path.parent / "plan.yaml")
    config = {
        "token_type": "char",
        **dict.fromkeys(("frontend", "specaug", "normalize"), None),
        "input_size": 1,
        "encoder": name,
        "encoder_conf": conf,
        "model_conf": {"ctc_weight": 1.0, "extract_feats_in_collect_stats": False},
        "optim": "adam",
        "optim_conf": {"lr": 0.003},
        "scheduler": None,
        "batch_type": "unsorted",
        "batch_size": 2,
        "accum_grad": 2,
        "num_workers": 0,
        "num_att_plot": 0,
        "best_model_criterion": [["train", "loss", "min"]],
        "keep_nbest_models": 1,
        "use_tensorboard": False,
        "use_matplotlib": False,
    }
    path.write_text(yaml.safe_dump(config))


def losses(experiment: Path) -> list[float]:
    saved = torch.load(
        experiment / "checkpoint.pth",
        **({} if torch.__version__.startswith("1.") else {"weights_only": False}),
    )
    return [epoch["train"]["loss"] for epoch in saved["reporter"]["stats"].values()]


def tensors(experiment: Path, epoch: int) -> dict[str, torch.Tensor]:
    return torch.load(experiment / f"{epoch}epoch.pth", map_location="cpu")


def read(directory: Path) -> dict[str, str]:
    lines = (directory / "1best_recog" / "token_int").read_text().splitlines()
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}


@pytest.fixture(scope="module", params=list(ENCODERS))
def trained(request, data, tmp_path_factory) -> Path:
    """Trained for one epoch, then resumed as config.yaml says, without the checkpoint."""
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = small_checkpoint(folder)
    write_config(folder / "train.yaml", request.param, checkpoint)
    experiment = folder / "exp"
    train(folder / "train.yaml", data, experiment, 1)
    (experiment / "1epoch.pth").rename(folder / "first.pth")
    (experiment / "1epoch.pth").write_bytes((folder / "first.pth").read_bytes())
    Path(checkpoint).unlink()
    if (folder / "plan.yaml").exists():
        (folder / "plan.yaml").unlink()
    written = yaml.safe_load((experiment / "config.yaml").read_text())
    config = yaml.safe_load((folder / "train.yaml").read_text())
    config["encoder_conf"] = written["encoder_conf"]
    (folder / "resumed.yaml").write_text(yaml.safe_dump(config))
    train(folder / "resumed.yaml", data, experiment, 8)
    return experiment


def test_the_loss_falls(trained):
    values = losses(trained)
    assert len(values) == 8
    assert values[-1] < 0.5 * values[0]


def test_the_stack_is_frozen_at_first_and_trained_after_the_training_is_resumed(trained):
    first = torch.load(trained.parent / "first.pth", map_location="cpu")
    last = tensors(trained, 8)
    of_stack = [name for name in first if name.startswith("encoder.stack.blocks.")]
    moved = [name for name in of_stack if not torch.equal(first[name], last[name])]
    assert first["encoder.training_passes"].item() == 2 * PER_EPOCH
    assert last["encoder.training_passes"].item() == 8 * 2 * PER_EPOCH
    assert len(moved) > len(of_stack) // 2


def test_it_decodes_with_espnet_with_ours_and_unpacked_elsewhere(trained, data, tmp_path):
    from espnet2.bin.asr_inference import Speech2Text
    from espnet2.bin.pack import main as pack
    from espnet2.main_funcs.pack_funcs import unpack

    loaded = load_experiment(trained)
    assert isinstance(loaded.model.encoder, StackEncoder)
    methods = ["greedy", "ctc"] if find_spec("k2") else ["greedy"]
    for method in methods:
        words = ["--exp_dir", trained, "--data_dir", data, "--method", method]
        words += ["--output_dir", tmp_path / method, "--num_workers", 0]
        asr_inference_k2.main([str(word) for word in words])
    assert len(read(tmp_path / "greedy")) == 8
    assert all(read(tmp_path / method) == read(tmp_path / "greedy") for method in methods)

    files = {"asr_train_config": trained / "config.yaml", "asr_model_file": loaded.checkpoint}
    pack(
        ["asr", "--outpath", str(tmp_path / "packed.zip")]
        + [str(word) for key, file in files.items() for word in (f"--{key}", file)]
    )
    unpacked = unpack(tmp_path / "packed.zip", tmp_path / "unpacked")
    name, path = (data / "wav.scp").read_text().splitlines()[0].split()
    speech, _ = soundfile.read(path, dtype="float32")
    found = [
        Speech2Text(**where, ctc_weight=1.0, beam_size=2)(speech)[0][2]
        for where in (files, unpacked)
    ]
    assert found[0] == found[1]
    log_probs = loaded.model.ctc.log_softmax(
        loaded.model.encode(torch.from_numpy(speech)[None], torch.tensor([len(speech)]))[0]
    )
    best = log_probs[0].argmax(-1).unique_consecutive()
    assert " ".join(str(int(token)) for token in best if token) == read(tmp_path / "greedy")[name]
