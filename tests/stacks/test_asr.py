"""An edited stack in the place of an experiment's encoder."""

from __future__ import annotations

import shutil

import pytest
import torch
from tiny_models import ENCODER_CONF, write_experiment

from espnet_plugin.bin import apply_plan as command
from espnet_plugin.stacks import asr
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.untrained import create_untrained
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.arms import keep_plan

SPEECH = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([16000, 9000])
RAW = {
    "conv_layers": [[8, 10, 5], [8, 8, 4], [8, 8, 4], [8, 4, 4]],
    "width": 16,
    "blocks": 3,
    "heads": 2,
    "feed_forward": 24,
    "pos_kernel": 8,
    "pos_groups": 2,
}


@pytest.fixture(scope="module", params=["conformer", "wav2vec2"])
def directory(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp") / request.param
    if request.param == "conformer":
        return write_experiment(folder, encoder_conf={**ENCODER_CONF, "num_blocks": 3})
    config = {
        "encoder": "pruned_stack",
        "encoder_conf": {"stack": {"config": RAW}},
        "model_conf": {"ctc_weight": 1.0},
        "input_size": 1,
        **dict.fromkeys(("frontend", "normalize", "specaug")),
    }
    return create_untrained(folder, config, ["<blank>", "<unk>", "a", "b", "<sos/eos>"])


@pytest.fixture
def experiment(directory):
    return load_experiment(directory)


def plan_for(stack):
    return keep_plan(stack.family, 3, [0, 2])


@torch.no_grad()
def test_posteriors_are_those_of_the_model(experiment):
    found, frames = asr.log_probs(experiment, asr.stack_of(experiment), SPEECH, LENGTHS)
    hidden, expected_frames = experiment.model.encode(SPEECH, LENGTHS)
    expected = experiment.model.ctc.log_softmax(hidden)
    assert frames.tolist() == expected_frames.tolist()
    for ours, theirs, length in zip(found, expected, frames, strict=True):
        torch.testing.assert_close(ours[:length], theirs[:length], rtol=0, atol=1e-4)


@torch.no_grad()
def test_an_edited_experiment(experiment, tmp_path):
    stack = asr.stack_of(experiment)
    edited = apply_plan(stack, plan_for(stack))
    expected, frames = asr.log_probs(experiment, edited, SPEECH, LENGTHS)
    for _ in range(2):  # the second time in the place of the first
        asr.write_experiment(experiment, edited, tmp_path / "edited")
    again = load_experiment(tmp_path / "edited")
    hidden, again_frames = again.model.encode(SPEECH, LENGTHS)
    assert again_frames.tolist() == frames.tolist() and again.token_list == experiment.token_list
    for ours, theirs, n in zip(again.model.ctc.log_softmax(hidden), expected, frames, strict=True):
        torch.testing.assert_close(ours[:n], theirs[:n], rtol=0, atol=1e-4)
    loaded = load_stack(tmp_path / "edited")
    assert loaded.block_numbers == (0, 2) and loaded.plan.actions == edited.plan.actions
    x = loaded.output(SPEECH, LENGTHS)[0]
    torch.testing.assert_close(x, edited.output(SPEECH, LENGTHS)[0], rtol=0, atol=1e-4)


def test_an_edited_experiment_is_edited_again_by_the_command(directory, tmp_path, capsys):
    stack = load_stack(directory)
    plan_for(stack).save(tmp_path / "plan.yaml")
    keep_plan(stack.family, 2, [1]).save(tmp_path / "second.yaml")
    for model, plan, out in (
        (directory, "plan.yaml", "first"),
        (tmp_path / "first", "second.yaml", "second"),
    ):
        options = ["--model", model, "--plan", tmp_path / plan, "--out_exp", tmp_path / out]
        command.main([str(option) for option in options])
    assert "| blocks | 2 | 1 |" in capsys.readouterr().out
    assert load_stack(tmp_path / "second").block_numbers == (2,)


def test_another_model_is_overwritten_on_demand_only(directory, tmp_path):
    stack, out = load_stack(directory), tmp_path / "out"
    plans = [tmp_path / name for name in ("one.yaml", "two.yaml")]
    plan_for(stack).save(plans[0])
    keep_plan(stack.family, 3, [1]).save(plans[1])

    def run(plan, *options):
        given = ["--model", directory, "--plan", plan, "--out_exp", out, *options]
        command.main([str(option) for option in given])

    for _ in range(2):  # the same again
        run(plans[0])
    before = (out / "valid.loss.ave.pth").read_bytes()
    with pytest.raises(SystemExit, match="out: holds another model .* or say --overwrite"):
        run(plans[1])
    assert (out / "valid.loss.ave.pth").read_bytes() == before
    run(plans[1], "--overwrite")
    assert load_stack(out).block_numbers == (1,)
    (out / "valid.loss.ave.pth").write_text("something else")
    with pytest.raises(SystemExit, match="holds another model"):
        run(plans[1])


def test_a_training_is_not_overwritten(experiment, tmp_path):
    stack = asr.stack_of(experiment)
    copy = shutil.copytree(experiment.directory, tmp_path / "copy")
    (copy / "valid.loss.ave.pth").rename(copy / "3epoch.pth")
    for taken in (experiment.directory, copy):
        with pytest.raises(StackError, match="a model was trained here; name another directory"):
            asr.write_experiment(experiment, stack, taken)


def test_a_weighted_sum_is_refused(directory, experiment):
    experiment.model.encoder.weights = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(StackError, match="a weighted sum of all blocks"):
        asr.log_probs(experiment, asr.stack_of(experiment), SPEECH, LENGTHS)
