"""pruned_stack on an ESPnet experiment: on waveforms, and behind ESPnet's own front end."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
import yaml
from tiny_models import ENCODER_CONF, write_experiment

from espnet_plugin.encoders.pruned_stack import PrunedStackEncoder
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.arms import keep_plan
from espnet_plugin.task import ASRTask

SPEECH = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([16000, 9000])
PLAN = keep_plan("conformer", 3, [0, 2])


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("exp") / "conformer"
    return write_experiment(directory, encoder_conf={**ENCODER_CONF, "num_blocks": 3})


@pytest.fixture(scope="module")
def pruned(experiment):
    return apply_plan(load_stack(experiment), PLAN)


def write_pruned(directory: Path, experiment: Path, input_size: int | None) -> Path:
    """An experiment as training of the pruned encoder writes it."""
    config = yaml.safe_load((experiment / "config.yaml").read_text())
    config.update(
        encoder="pruned_stack",
        encoder_conf={"checkpoint": str(experiment), "keep_blocks": [0, 2]},
        input_size=input_size,
        normalize=None if input_size else config["normalize"],
    )
    args = argparse.Namespace(**config)
    model = ASRTask.build_model(args)
    directory.mkdir()
    (directory / "config.yaml").write_text(yaml.safe_dump(vars(args)))
    torch.save(model.state_dict(), directory / "valid.loss.ave.pth")
    return directory


@torch.no_grad()
@pytest.mark.parametrize("input_size", [1, None])
def test_the_pruned_model_is_there_without_the_experiment(experiment, pruned, input_size, tmp_path):
    directory = write_pruned(tmp_path / "pruned", experiment, input_size)
    experiment.rename(tmp_path / "moved")
    try:
        loaded = load_experiment(directory)
    finally:
        (tmp_path / "moved").rename(experiment)
    expected, frames = pruned.output(SPEECH, LENGTHS)
    x, lengths = loaded.model.encode(SPEECH, LENGTHS)
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)
    assert lengths.tolist() == frames.tolist()
    assert len(loaded.model.encoder.stack.blocks) == 2

    stack = loaded.model.encoder.whole_stack(loaded)
    assert (stack.takes, stack.block_numbers, stack.plans) == ("waveform", (0, 2), (PLAN,))
    assert stack.frame_shift == pruned.frame_shift
    stack.save(tmp_path / "stack.pt")
    again = load_stack(tmp_path / "stack.pt").output(SPEECH, LENGTHS)[0]
    torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-4)


def test_what_it_takes_and_what_it_has_not_are_said(experiment):
    keep = {"checkpoint": str(experiment), "keep_blocks": [0]}
    with pytest.raises(ValueError, match="mask_prob: a conformer stack has none; use ESPnet's"):
        PrunedStackEncoder(1, **keep, mask_prob=0.1)
    with pytest.raises(ValueError, match="layer_drop: only blocks of wav2vec 2.0-type stacks"):
        PrunedStackEncoder(1, **keep, layer_drop=0.1)
    with pytest.raises(ValueError, match="keep_blocks: expected some of the blocks 0 to 2"):
        PrunedStackEncoder(1, **{**keep, "keep_blocks": [3]})


def test_the_subsampling_can_be_frozen(experiment):
    encoder = PrunedStackEncoder(1, str(experiment), freeze_feature_extractor=True).train()
    encoder(SPEECH, LENGTHS)[0].sum().backward()
    trained = {name.split(".")[1] for name, p in encoder.named_parameters() if p.grad is not None}
    assert trained == {"blocks", "after_norm"}
