"""Plans that drop blocks and share parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from small_stacks import KINDS, assert_close, plan_for, run, small_stack, speech

from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.actions import Drop, LocalAttention, PruneHeads, Share
from espnet_plugin.surgery.apply import apply_plan


def parameters(module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_block_is_passed_by_and_gone(kind, tmp_path):
    stack = small_stack(kind)
    before = {name: tensor.clone() for name, tensor in stack.state_dict().items()}
    passed = copy.deepcopy(stack)
    for place in (0, 2):
        passed.blocks[place].forward = lambda state: state
    edited = apply_plan(stack, plan_for(stack, Drop(0), Drop(2)))

    hidden = run(passed)
    assert_close(run(edited), [hidden[1], hidden[2], hidden[4]])
    assert len(edited.blocks) == 2 and edited.block_numbers == (1, 3)
    removed = parameters(stack.blocks[0]) + parameters(stack.blocks[2])
    assert parameters(edited) == parameters(stack) - removed
    stack.save(tmp_path / "whole.pt")
    edited.save(tmp_path / "edited.pt")
    saved = [(tmp_path / f"{name}.pt").stat().st_size for name in ("whole", "edited")]
    assert saved[0] - saved[1] >= 8 * removed

    assert stack.plans == () and len(stack.blocks) == 4  # as it was
    assert all(torch.equal(before[name], tensor) for name, tensor in stack.state_dict().items())
    own = {tensor.data_ptr() for tensor in edited.parameters()}
    assert not own & {tensor.data_ptr() for tensor in stack.parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_shared_blocks_have_one_set_of_parameters(kind, tmp_path):
    stack = small_stack(kind)
    apart = copy.deepcopy(stack)
    apart.blocks[3] = copy.deepcopy(apart.blocks[1])
    edited = apply_plan(stack, plan_for(stack, Share(3, 1)))

    assert_close(run(edited), run(apart))
    assert edited.blocks[3] is edited.blocks[1]
    assert parameters(edited) == parameters(stack) - parameters(stack.blocks[3])
    names = [name for name in edited.state_dict() if name.startswith("blocks.")]
    assert {name.split(".")[1] for name in names} == {"0", "1", "2"}
    edited.save(tmp_path / "shared.pt")
    assert not any(
        name.startswith("blocks.3.") for name in torch.load(tmp_path / "shared.pt")["tensors"]
    )
    loaded = Stack.load(tmp_path / "shared.pt")
    assert loaded.blocks[3] is loaded.blocks[1]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_through_both_places_add_up(kind):
    stack = small_stack(kind)
    apart = copy.deepcopy(stack)
    apart.blocks[3] = copy.deepcopy(apart.blocks[1])
    edited = apply_plan(stack, plan_for(stack, Share(3, 1)))
    for model in (apart, edited):
        x, _ = model.output(*speech(model))
        weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
        (x * weights).sum().backward()
    both = zip(apart.blocks[1].named_parameters(), apart.blocks[3].named_parameters(), strict=True)
    got = dict(edited.blocks[3].named_parameters())
    for (name, first), (_, second) in both:
        expected = first.grad + second.grad
        torch.testing.assert_close(got[name].grad, expected, rtol=1e-7, atol=1e-9)
        assert name.endswith("key.bias") or name.endswith("linear_k.bias") or expected.any()


def test_a_window_stays_with_its_place_and_pruned_heads_come_with_the_parameters():
    stack = small_stack("wavlm")
    prune = PruneHeads(1, (2,))
    plan = plan_for(stack, Share(3, 1), LocalAttention(3, 5), prune, LocalAttention(2, 9))
    edited = apply_plan(stack, plan)
    assert edited.windows == (None, None, 9, 5)
    assert edited.blocks[3] is edited.blocks[1] and edited.blocks[1].attention.heads == 3
    apart = apply_plan(stack, plan_for(stack, prune, LocalAttention(2, 9)))
    apart.blocks[3] = copy.deepcopy(apart.blocks[1])
    apart.windows = (None, None, 9, 5)
    assert_close(run(edited), run(apart))


def test_state_dicts_of_a_stack_inside_another_module_load_again():
    stack = small_stack("conformer")
    shared = torch.nn.ModuleDict({"encoder": apply_plan(stack, plan_for(stack, Share(0, 2)))})
    other = small_stack("conformer", seed=3)
    target = torch.nn.ModuleDict({"encoder": apply_plan(other, plan_for(other, Share(0, 2)))})
    state = shared.state_dict()
    assert not any(name.startswith("encoder.blocks.2.") for name in state)
    target.load_state_dict(state)
    assert_close(run(target["encoder"]), run(shared["encoder"]))
    with pytest.raises(RuntimeError, match="blocks.1"):
        del state[next(name for name in state if name.startswith("encoder.blocks.1."))]
        target.load_state_dict(state)
