"""Plans that limit, reuse and prune attention, against the maps of the stack before."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stacks import (
    HEAD,
    HEADS,
    INNER,
    KINDS,
    WIDTH,
    assert_close,
    maps_of,
    plan_for,
    run,
    small_stack,
    speech,
    with_maps,
)

from espnet_plugin.encoders.local_attention import LocalMaps
from espnet_plugin.stacks.cost import MacCounter
from espnet_plugin.surgery.actions import LocalAttention, PruneHeads, ReuseAttention
from espnet_plugin.surgery.apply import apply_plan


def banded(maps, window):
    """What a window leaves of a map: the softmax over fewer keys is the same, renormalised."""
    frame = torch.arange(maps.size(-1))
    kept = maps * ((frame - frame[:, None]).abs() <= window)
    return kept / kept.sum(-1, keepdim=True).clamp_min(1e-300)


def out_of(block):
    attention = block.attention
    return attention.out if hasattr(attention, "out") else attention.linear_out


# -- local attention ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*KINDS, "zero_triu"])
@pytest.mark.parametrize("window", [1, 2, 7, 30, 58])
def test_a_window_hides_what_is_farther_away(kind, window):
    stack = small_stack(kind)
    edited = apply_plan(stack, plan_for(stack, LocalAttention(1, window)))
    changed = with_maps(stack, 1, lambda maps: banded(maps, window))
    assert_close(run(edited), run(changed, explicit=True))
    assert_close(run(edited, explicit=True), run(edited))
    maps, whole = maps_of(edited)[1], maps_of(stack)[1]
    for utterance, length in enumerate((60, 37)):
        ours = maps[utterance, :, :length]
        expected = banded(whole, window)[utterance, :, :length]
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
    far = (torch.arange(60) - torch.arange(60)[:, None]).abs() > window
    assert not maps[..., far].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [59, 60, 5000])
def test_a_window_as_wide_as_the_utterance_is_no_edit(kind, window):
    stack = small_stack(kind)
    every = (LocalAttention(block, window) for block in range(len(stack.blocks)))
    edited = apply_plan(stack, plan_for(stack, *every))
    assert all(torch.equal(a, b) for a, b in zip(run(edited), run(stack), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_local_attention_learns(kind):
    stack = small_stack(kind)
    edited = apply_plan(stack, plan_for(stack, LocalAttention(1, 6)))
    changed = with_maps(stack, 1, lambda maps: banded(maps, 6))
    gradients = []
    for model in (edited, changed):
        model.train()
        model.map_hook = None if model is edited else lambda *ignored: None
        x, _ = model.output(*speech(model))
        weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
        (x * weights).sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], expected, rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_operations_grow_with_the_window_and_not_with_the_square_of_the_length(kind):
    def attention_macs(window, frames):
        stack = small_stack(kind, blocks=1, dtype=torch.float32)
        if window is not None:
            stack = apply_plan(stack, plan_for(stack, LocalAttention(0, window)))
        with MacCounter() as counter, torch.no_grad():
            stack.output(*speech(stack, (frames,)))
        return counter.macs

    local = attention_macs(40, 3840) - attention_macs(40, 1920)
    assert attention_macs(40, 5760) - attention_macs(40, 3840) == pytest.approx(local, rel=1e-3)
    full = attention_macs(None, 3840) - attention_macs(None, 1920)
    assert local < 0.2 * full


# -- reused maps ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_followers_use_the_map_of_their_leader(kind):
    stack = small_stack(kind, blocks=5)
    plan = plan_for(stack, ReuseAttention(1, 0), ReuseAttention(2, 0), ReuseAttention(4, 3))
    edited = apply_plan(stack, plan)
    kept: list = []
    changed = with_maps(stack, 0, lambda maps: maps, keep=kept)
    changed = with_maps(changed, 1, lambda maps: kept[-1])
    changed = with_maps(changed, 2, lambda maps: kept[-1])
    others: list = []
    changed = with_maps(changed, 3, lambda maps: maps, keep=others)
    changed = with_maps(changed, 4, lambda maps: others[-1])
    assert_close(run(edited), run(changed, explicit=True))
    maps = maps_of(edited)
    assert sorted(maps) == [0, 1, 2, 3, 4]
    assert torch.equal(maps[0], maps[2]) and torch.equal(maps[3], maps[4])
    assert not torch.equal(maps[0], maps[3])


@pytest.mark.parametrize("kind", KINDS)
def test_followers_have_values_and_outputs_alone(kind):
    stack = small_stack(kind)
    edited = apply_plan(stack, plan_for(stack, ReuseAttention(2, 1)))
    left = sum(p.numel() for p in edited.blocks[2].attention.parameters())
    assert left == 2 * (WIDTH * WIDTH + WIDTH)
    assert not any("linear_k" in n or ".key" in n for n in edited.blocks[2].state_dict())


def test_a_leader_with_a_window_hands_on_its_band():
    for kind in KINDS:
        stack = small_stack(kind)
        edited = apply_plan(stack, plan_for(stack, ReuseAttention(2, 1), LocalAttention(1, 5)))
        maps = maps_of(edited)
        torch.testing.assert_close(maps[2], maps[1])
        kept: list = []
        changed = with_maps(stack, 1, lambda m: banded(m, 5), keep=kept)
        changed = with_maps(changed, 2, lambda m, kept=kept: kept[-1])
        assert_close(run(edited), run(changed, explicit=True))
        state = edited.embed(*speech(edited))
        for place in (0, 1):
            state = edited.step(place, state)
        assert isinstance(state.maps, LocalMaps)


# -- pruned heads ---------------------------------------------------------------------------


def without_heads(stack, block, heads):
    """A copy in which the maps of ``heads`` count as zero: so do their parts of what is mixed."""
    changed = copy.deepcopy(stack)

    def zero(module, inputs):
        mixed = inputs[0].clone()
        for head in heads:
            mixed[..., head * HEAD : (head + 1) * HEAD] = 0
        return (mixed,)

    out_of(changed.blocks[block]).register_forward_pre_hook(zero)
    return changed


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5, deadline=None)
@given(st.sets(st.integers(0, HEADS - 1), min_size=1))
def test_pruning_is_multiplying_the_map_by_zero(kind, heads):
    stack = small_stack(kind)
    edited = apply_plan(stack, plan_for(stack, PruneHeads(1, tuple(heads))))
    assert_close(run(edited), run(without_heads(stack, 1, heads)))
    left = [head for head in range(HEADS) if head not in heads]
    before, after = maps_of(stack)[1], maps_of(edited)[1]
    torch.testing.assert_close(after, before[:, left], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_pruned_heads_take_their_parameters_with_them(kind):
    stack = small_stack(kind)
    edited = apply_plan(stack, plan_for(stack, PruneHeads(1, (0, 3)), PruneHeads(2, (1,))))
    per_head = 4 * WIDTH * HEAD + 3 * HEAD
    if kind == "wavlm":
        per_head += 1  # the scale of the gate
    elif kind in ("conformer", "legacy"):
        per_head += WIDTH * HEAD + 2 * HEAD  # positions, u and v
    for block, pruned in enumerate((0, 2, 1, 0)):
        attentions = [model.blocks[block].attention for model in (stack, edited)]
        counts = [sum(p.numel() for p in a.parameters()) for a in attentions]
        assert counts[0] - counts[1] == pruned * per_head
        assert attentions[1].heads == HEADS - pruned


@pytest.mark.parametrize("kind", KINDS)
def test_pruning_every_head_leaves_the_bias_of_the_output(kind):
    stack = small_stack(kind)
    edited = apply_plan(stack, plan_for(stack, PruneHeads(1, tuple(range(HEADS)))))
    attention, out = edited.blocks[1].attention, out_of(edited.blocks[1])
    assert torch.equal(out.bias, out_of(stack.blocks[1]).bias) and out.weight.numel() == 0
    seen = []
    attention.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    assert_close(run(edited), run(without_heads(stack, 1, range(HEADS))))
    torch.testing.assert_close(seen[0], out.bias.expand_as(seen[0]))
    assert maps_of(edited)[1].shape == (2, 0, 60, 60)
    left = sum(p.numel() for p in attention.parameters())
    assert left == WIDTH, [n for n, _ in attention.named_parameters()]


@pytest.mark.parametrize("kind", KINDS)
def test_pruning_a_leader_prunes_its_followers(kind):
    stack = small_stack(kind)
    plan = plan_for(stack, ReuseAttention(2, 1), ReuseAttention(3, 1), PruneHeads(1, (2,)))
    edited = apply_plan(stack, plan)
    assert [block.attention.heads for block in edited.blocks] == [HEADS, 3, 3, 3]
    reused = apply_plan(stack, plan_for(stack, ReuseAttention(2, 1), ReuseAttention(3, 1)))
    for block in (1, 2, 3):
        reused = without_heads(reused, block, [2])
    assert_close(run(edited), run(reused))


@pytest.mark.parametrize("kind", KINDS)
def test_all_heads_may_go_where_maps_are_reused_or_limited(kind):
    stack = small_stack(kind)
    every = tuple(range(HEADS))
    plan = plan_for(stack, ReuseAttention(2, 1), PruneHeads(1, every), LocalAttention(1, 5))
    edited = apply_plan(stack, plan)
    changed = without_heads(without_heads(stack, 1, every), 2, every)
    assert_close(run(edited), run(changed))
    run(edited, explicit=True)


def test_relative_biases_go_when_nobody_is_left_to_use_them():
    stack = small_stack("wavlm", blocks=2)
    every = tuple(range(HEADS))
    one = apply_plan(stack, plan_for(stack, PruneHeads(0, every)))
    assert one.relative_bias is not None
    both = apply_plan(stack, plan_for(stack, PruneHeads(0, every), PruneHeads(1, every)))
    assert both.relative_bias is None
    assert_close(run(both), run(without_heads(without_heads(stack, 0, every), 1, every)))
    assert INNER != WIDTH  # or the counts above could not tell projections from networks
