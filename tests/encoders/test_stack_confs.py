"""The ready training configurations of encoders that are stacks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml
from stack_checkpoints import small_checkpoint

from espnet_plugin.surgery.arms import filter_plan
from espnet_plugin.task import ASRTask

CONF = Path(__file__).parents[2] / "conf"
NAMES = ["filtered_wav2vec2", "pruned_stack", "mimic_stack"]
UPDATES, PEAK = 80000, 3e-5


def arguments(name: str, directory: Path, *more: str):
    tokens = ["<blank>", "<unk>", "a", "<sos/eos>"]
    (directory / "tokens.txt").write_text("".join(f"{token}\n" for token in tokens))
    return ASRTask.get_parser().parse_args(
        ["--config", str(CONF / f"train_asr_{name}.yaml"), "--output_dir", str(directory)]
        + ["--token_list", str(directory / "tokens.txt"), *more]
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_builds_a_ctc_model_of_the_base_layout(name, tmp_path):
    """Named by the command line as the file says; of the base layout but narrow."""
    checkpoint = small_checkpoint(tmp_path, width=64, blocks=12, heads=4)
    filter_plan("wav2vec2", 12, [9, 10], "drop").save(tmp_path / "plan.yaml")
    conf = ["--encoder_conf", f"checkpoint={checkpoint}"]
    if name == "filtered_wav2vec2":
        conf += ["--encoder_conf", f"plan={tmp_path / 'plan.yaml'}"]
    args = arguments(name, tmp_path, *conf)
    assert args.best_model_criterion == [["valid", "loss", "min"]]
    model = ASRTask.build_model(args)
    assert model.ctc_weight == 1.0 and model.decoder is None and model.frontend is None
    encoder = model.encoder
    assert len(encoder.stack.blocks) == {NAMES[0]: 10, NAMES[1]: 7, NAMES[2]: 1}[name]
    assert not encoder.stack.frontend.convolutions[0].conv.weight.requires_grad
    masking = encoder.masking
    assert (masking.mask_prob, masking.channel_mask_prob) == (0.65, 0.5)
    assert (masking.mask_length, masking.channel_mask_length) == (10, 64)
    drops = {getattr(block, "layer_drop", 0.1) for block in encoder.stack.blocks}
    assert drops == {0.1} and encoder.passes_per_update == 8


def test_they_differ_in_the_encoder_alone():
    rest = []
    for name in NAMES:
        written = yaml.safe_load((CONF / f"train_asr_{name}.yaml").read_text())
        assert written.pop("encoder") == name
        del written["encoder_conf"]
        rest.append(written)
    assert rest[0] == rest[1] == rest[2]


def tri_stage(step: int) -> float:
    """fairseq's tri-stage schedule 0.1/0.4/0.5 with its scales 0.01 and 0.05."""
    warm, hold = 0.1 * UPDATES, 0.5 * UPDATES
    if step < warm:
        return PEAK * (0.01 + 0.99 * step / warm)
    if step < hold:
        return PEAK
    return PEAK * math.exp(math.log(0.05) * (step - hold) / (UPDATES - hold))


def test_the_schedule_is_fairseqs_within_five_percent(tmp_path):
    args = arguments(NAMES[0], tmp_path)
    from espnet2.tasks.abs_task import scheduler_classes

    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], **args.optim_conf)
    schedule = scheduler_classes[args.scheduler](optimizer, **args.scheduler_conf)
    for step in range(1, UPDATES + 1, 500):
        schedule.last_epoch = step - 1
        assert schedule.get_lr()[0] == pytest.approx(tri_stage(step), rel=0.05), step
    schedule.last_epoch = 2 * UPDATES
    assert schedule.get_lr()[0] < 1.5e-6
