"""What the benchmark times is what the model does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import write_experiment

from espnet_plugin.benchmark.calls import encoder_call
from espnet_plugin.stacks.asr import write_experiment as write_edited
from espnet_plugin.stacks.cost import count_macs
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.arms import keep_plan

SPEECH = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([16000, 12000])


@pytest.mark.parametrize("option", ["interctc_use_conditioning", "ctc_trim"])
def test_an_encoder_that_asks_for_the_ctc_layer(option: str, tmp_path: Path) -> None:
    conf = {"interctc_layer_idx": [1], option: True}
    model = load_experiment(write_experiment(tmp_path / "asr", encoder_conf=conf)).model
    with torch.no_grad():
        model.ctc.ctc_lo.bias[0] = 1e4  # all is blank, which ctc_trim cuts off
        (expected, _), frames = model.encode(SPEECH, LENGTHS)
    (found, _), found_frames, _ = encoder_call(model, SPEECH, LENGTHS)()
    assert torch.equal(found, expected) and torch.equal(found_frames, frames)
    assert (found.shape[1] < 10) == (option == "ctc_trim")


def test_the_front_end_is_never_timed(tmp_path: Path) -> None:
    """A model, its stack, and an experiment with the stack for an encoder: the same work."""
    experiment = load_experiment(write_experiment(tmp_path / "asr"))
    stack = load_stack(tmp_path / "asr")
    write_edited(experiment, stack, tmp_path / "rewritten")
    rewritten = load_experiment(tmp_path / "rewritten").model
    with torch.no_grad():
        expected, frames = experiment.model.encode(SPEECH, LENGTHS)
    assert rewritten.encoder.stack.frontend is not None
    calls = [encoder_call(m, SPEECH, LENGTHS) for m in (experiment.model, stack, rewritten)]
    for call in calls:
        found, lengths = call()[:2]
        assert lengths.tolist() == frames.tolist()
        for ours, theirs, n in zip(found, expected, frames, strict=True):
            torch.testing.assert_close(ours[:n], theirs[:n], rtol=1e-4, atol=1e-5)
    macs = [count_macs(call) for call in calls]
    assert macs[1] == macs[2]
    with torch.no_grad():
        whole = count_macs(lambda: stack.output(SPEECH, LENGTHS))
        front = count_macs(lambda: stack.features(SPEECH, LENGTHS))
    assert front > 0 and macs[1] == whole - front
    assert stack.takes == "waveform" and stack.frontend is not None
    assert rewritten.encoder.stack.takes == "waveform"


def test_an_edited_stack(tmp_path: Path) -> None:
    write_experiment(tmp_path / "asr", encoder_conf={"num_blocks": 3})
    stack = apply_plan(load_stack(tmp_path / "asr"), keep_plan("conformer", 3, [0, 2]))
    found, frames = encoder_call(stack, SPEECH, LENGTHS)()
    with torch.no_grad():
        expected, lengths = stack.output(SPEECH, LENGTHS)
    assert torch.equal(found, expected) and torch.equal(frames, lengths)
