"""Encoders that are stacks: what they compute, what trains, what is refused."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from stack_checkpoints import small_checkpoint, small_stack

from espnet_plugin.compat import TooShortUttError
from espnet_plugin.encoders.filtered_wav2vec2 import FilteredWav2Vec2Encoder
from espnet_plugin.encoders.mimic_stack import MimicStackEncoder
from espnet_plugin.encoders.pruned_stack import PrunedStackEncoder
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.arms import filter_plan, keep_plan

SPEECH = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([8000, 5000])
FRAMES = 24  # of 8000 samples


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return small_checkpoint(tmp_path_factory.mktemp("stack"))


def encoder(checkpoint: str, **options: Any) -> FilteredWav2Vec2Encoder:
    return FilteredWav2Vec2Encoder(1, checkpoint, **options)


def assert_same_output(encoder, stack):
    x, lengths, _ = encoder.eval()(SPEECH, LENGTHS)
    expected, frames = stack.output(SPEECH, LENGTHS)
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-5)
    assert lengths.tolist() == frames.tolist() and x.size(1) == FRAMES
    assert encoder.output_size() == x.size(2) == 32


@torch.no_grad()
@pytest.mark.parametrize("strategy", ["drop", "local", "share"])
def test_abnormal_blocks_are_avoided(checkpoint, strategy, tmp_path):
    plan = filter_plan("wav2vec2", 4, [1, 2], strategy, window=3)
    expected = apply_plan(small_stack(), plan)
    blocks = {"abnormal_blocks": [1, 2], "strategy": strategy, "window": 3}
    assert_same_output(encoder(checkpoint, **blocks), expected)
    plan.save(tmp_path / "plan.yaml")
    assert_same_output(encoder(checkpoint, plan=str(tmp_path / "plan.yaml")), expected)


@torch.no_grad()
def test_without_a_plan_it_is_the_checkpoint_and_with_blocks_to_keep_a_part_of_it(checkpoint):
    assert_same_output(encoder(checkpoint), small_stack())
    pruned = PrunedStackEncoder(1, checkpoint, keep_blocks=[0, 3])
    assert_same_output(pruned, apply_plan(small_stack(), keep_plan("wav2vec2", 4, [0, 3])))


@torch.no_grad()
def test_a_mimic_takes_the_place_of_all_blocks_and_can_be_taught_before(checkpoint, tmp_path):
    mimic = MimicStackEncoder(1, checkpoint, hidden=8, layers=1)
    assert len(mimic.stack.blocks) == 1
    features = small_stack().frontend(SPEECH, None)[0]
    (layer,) = mimic.stack.blocks[0].layers
    expected = layer.expand(layer.norm(layer.contract(features)).relu())
    torch.testing.assert_close(mimic.eval()(SPEECH, torch.tensor([8000, 8000]))[0], expected)

    mimic.stack.save(tmp_path / "taught.pt")
    assert_same_output(MimicStackEncoder(1, str(tmp_path / "taught.pt")), mimic.stack)
    with pytest.raises(ValueError, match="taught.pt: is a mimic already; leave hidden out"):
        MimicStackEncoder(1, str(tmp_path / "taught.pt"), hidden=8)


@torch.no_grad()
@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (FilteredWav2Vec2Encoder, {"abnormal_blocks": [2], "strategy": "share"}),
        (PrunedStackEncoder, {"keep_blocks": [0, 1]}),
        (MimicStackEncoder, {"hidden": 8, "kind": "transformer"}),
    ],
)
def test_the_values_of_a_stack_build_it_without_the_checkpoint(checkpoint, cls, options):
    original = cls(1, checkpoint, **options)
    again = cls(1, "no such file", stack=original.stack_conf())
    again.load_state_dict(original.state_dict())
    assert_same_output(again, original.stack.eval())
    assert again.stack_conf() == original.stack_conf()


@torch.no_grad()
def test_a_stack_of_given_sizes_trains_from_the_beginning():
    sizes = {"blocks": 3, "width": 64, "heads": 2, "feed_forward": 64}
    model = FilteredWav2Vec2Encoder(1, stack={"config": sizes}).eval()
    x, _, _ = model(SPEECH, LENGTHS)
    assert x.shape == (2, FRAMES, 64) and bool(x.isfinite().all())
    with pytest.raises(ValueError, match="stack: expected config, builder"):
        FilteredWav2Vec2Encoder(1, stack={"blocks": 3})


def test_masks_are_drawn_in_training_alone_by_torchs_seed(checkpoint):
    model = encoder(checkpoint, mask_prob=0.5, channel_mask_prob=0.3, channel_mask_length=4)

    def run(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        with torch.no_grad():
            return model(SPEECH, LENGTHS)[0]

    model.train()
    assert torch.equal(run(1), run(1)) and not torch.allclose(run(1), run(2))
    assert_same_output(model, small_stack())
    model.train()(SPEECH, LENGTHS)[0].sum().backward()
    assert model.stack.frontend.mask_embedding.grad.abs().sum() > 0


def test_a_frozen_extractor_is_not_trained_and_all_else_is(checkpoint):
    model = encoder(checkpoint, freeze_feature_extractor=True, mask_prob=0.3).train()
    model(SPEECH, LENGTHS)[0].pow(2).sum().backward()
    untrained = {name for name, p in model.named_parameters() if p.grad is None}
    of_extractor = {f"stack.frontend.convolutions.{i}.conv.weight" for i in range(4)}
    norm = "stack.frontend.convolutions.0.norm"
    assert untrained == of_extractor | {f"{norm}.weight", f"{norm}.bias"}


def test_the_stack_is_frozen_for_so_many_updates_and_the_count_is_saved(checkpoint):
    options = {"freeze_finetune_updates": 2, "weighted_sum": True}
    model = encoder(checkpoint, **options).train()
    model.passes_per_update = 3

    def trained() -> bool:
        model.zero_grad(set_to_none=True)
        model(SPEECH, LENGTHS)[0].sum().backward()
        assert model.weights.grad is not None
        return model.stack.blocks[0].attention.value.weight.grad is not None

    assert [trained() for _ in range(4)] == [False] * 4
    model.eval()(SPEECH, LENGTHS)  # evaluation does not count
    with torch.no_grad():
        model.train()(SPEECH, LENGTHS)
    resumed = encoder(checkpoint, **options).train()
    resumed.load_state_dict(model.state_dict())
    model, resumed.passes_per_update = resumed, 3
    assert [trained() for _ in range(4)] == [False, False, True, True]


def test_all_blocks_can_be_skipped(checkpoint):
    model = encoder(checkpoint, layer_drop=0.999).train()
    torch.manual_seed(0)
    stack = small_stack()
    state = stack.embed(SPEECH, None)
    with torch.no_grad():
        x, _, _ = model(SPEECH, torch.tensor([8000, 8000]))
    torch.testing.assert_close(x, state.x)
    assert_same_output(model, stack)


@torch.no_grad()
def test_the_weighted_sum_is_of_all_blocks_outputs(checkpoint):
    model = encoder(checkpoint, weighted_sum=True, abnormal_blocks=[0]).eval()
    hidden, _ = model.stack(SPEECH, LENGTHS)
    mean = torch.stack(hidden[1:]).mean(0)
    torch.testing.assert_close(model(SPEECH, LENGTHS)[0], mean, rtol=1e-4, atol=1e-5)
    model.weights.copy_(torch.tensor([100.0, 0.0, 0.0]))
    torch.testing.assert_close(model(SPEECH, LENGTHS)[0], hidden[1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_an_utterance_too_short_for_a_frame_has_none_and_does_not_disturb_others(checkpoint):
    model = encoder(checkpoint).eval()
    alone, _, _ = model(SPEECH[:1], LENGTHS[:1])
    speech = torch.stack([SPEECH[0], torch.zeros(8000)])
    x, lengths, _ = model(speech, torch.tensor([8000, 100]))
    assert lengths.tolist() == [FRAMES, 0]
    torch.testing.assert_close(x[:1], alone, rtol=1e-4, atol=1e-5)
    with pytest.raises(TooShortUttError):
        model(SPEECH[:, :100], torch.tensor([100, 50]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": None}, "give encoder_conf a checkpoint"),
        ({"checkpoint": "gone.pt"}, "gone.pt: not there"),
        ({"plan": "p.yaml", "abnormal_blocks": [1]}, "give plan or abnormal_blocks, not both"),
        ({"abnormal_blocks": [4]}, "4"),
        ({"input_size": 80}, "input_size 80: the stack takes waveforms; set frontend: null"),
        ({"channel_mask_prob": 0.5}, "channel_mask_length: the stack has 32 channels"),
        ({"layer_drop": 1.0}, "layer_drop must be from 0 to less than 1"),
        ({"mask_prob": 2.0}, "mask_prob must be from 0 to 1"),
    ],
)
def test_options_that_do_not_fit_are_one_line(checkpoint, options, message):
    with pytest.raises(ValueError, match=message) as raised:
        FilteredWav2Vec2Encoder(**{"input_size": 1, "checkpoint": checkpoint, **options})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("cls", [FilteredWav2Vec2Encoder, PrunedStackEncoder, MimicStackEncoder])
def test_espnet_can_list_all_options(cls):
    parameters = inspect.signature(cls).parameters
    assert {"checkpoint", "stack", "mask_prob", "layer_drop", "weighted_sum"} <= set(parameters)
    assert "options" not in parameters


def test_a_mimic_needs_its_size_and_has_no_blocks_to_skip(checkpoint):
    with pytest.raises(ValueError, match="give hidden, the width"):
        MimicStackEncoder(1, checkpoint)
    with pytest.raises(ValueError, match="layer_drop: only blocks of wav2vec 2.0-type"):
        MimicStackEncoder(1, checkpoint, hidden=8, layer_drop=0.1)


def test_init_would_overwrite_the_checkpoint(checkpoint):
    with pytest.raises(ValueError, match="init: leave it out"):
        encoder(checkpoint).reload_pretrained_parameters()
    encoder(checkpoint, stack=encoder(checkpoint).stack_conf()).reload_pretrained_parameters()
