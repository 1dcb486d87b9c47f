"""A Conformer stack with reused maps is the reuse Conformer."""

from __future__ import annotations

import pytest
import torch
from small_stacks import plan_for, small_stack, speech

from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder
from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.espnet_parts import Parts
from espnet_plugin.surgery.actions import PruneHeads, ReuseAttention
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan

GROUPS = [[0, 1, 2], [3], [4, 5]]


def pair(kind):
    """A stack with the plan of the groups, and the encoder with the parameters it had before."""
    from small_stacks import encoder_conf

    stack = small_stack(kind, blocks=6)
    encoder = ReuseConformerEncoder(input_size=6, reuse_groups=GROUPS, **encoder_conf(kind, 6))
    names = {
        "embedding.": "embed.",
        "blocks.": "encoders.",
        ".layer.": ".",
        "after_norm.": "after_norm.",
    }
    state = {}
    for name, tensor in stack.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[name] = tensor
    encoder.double().eval().load_state_dict(state)
    return apply_plan(stack, BlockPlan.from_groups(GROUPS)), encoder


@pytest.mark.parametrize("kind", ["conformer", "legacy"])
def test_outputs_gradients_and_parameters_are_its_own(kind):
    edited, encoder = pair(kind)
    inputs, lengths = speech(edited)
    count = sum(p.numel() for p in encoder.parameters())
    assert sum(p.numel() for p in edited.parameters()) == count
    for training in (False, True):
        edited.train(training)
        encoder.train(training)
        expected, frames, _ = encoder(inputs, lengths)
        got, got_frames = edited.output(inputs, lengths)
        assert torch.equal(frames, got_frames)
        valid = torch.arange(expected.size(1)) < frames[:, None]
        torch.testing.assert_close(got[valid], expected[valid], rtol=1e-10, atol=1e-10)
    weights = torch.randn(expected.shape).double() * valid[..., None]
    (expected * weights).sum().backward()
    (got * weights).sum().backward()
    theirs = {name: p.grad for name, p in encoder.named_parameters()}
    for place in range(6):
        for name, parameter in edited.blocks[place].layer.named_parameters():
            expected = theirs[f"encoders.{place}.{name}"]
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-6, atol=1e-9)


def test_a_stack_made_of_the_encoder_has_its_groups_and_can_be_edited():
    edited, encoder = pair("conformer")
    stack = ConformerStack(Parts(encoder)).eval()
    assert stack.plan is not None and stack.plan.reuse_groups() == GROUPS
    plan = plan_for(stack, PruneHeads(0, (1,)), ReuseAttention(1, 0), ReuseAttention(2, 0))
    first, second = apply_plan(stack, plan), apply_plan(edited, plan)
    assert [b.attention.heads for b in first.blocks] == [3, 3, 3, 4, 4, 4]
    inputs, lengths = speech(edited)
    with torch.no_grad():
        pairs = zip(first(inputs, lengths)[0], second(inputs, lengths)[0], strict=True)
        for a, b in pairs:
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
