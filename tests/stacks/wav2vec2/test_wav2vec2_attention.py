"""Attention of the families: pruned heads, followers, WavLM's bias by distance."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from wav2vec2_originals import BASE, LARGE, config_of, randomise, waveforms

from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.state import State
from espnet_plugin.stacks.wav2vec2.gated_attention import GatedBias
from espnet_plugin.stacks.wav2vec2.relative_bias import RelativeBias, by_query, by_some_queries
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

FAMILIES = pytest.mark.parametrize("family", ["wav2vec2", "wavlm"])
LAYOUTS = pytest.mark.parametrize("layout", [BASE, LARGE], ids=["base", "large"])


def stack_of(family, layout=BASE):
    stack = Wav2Vec2Stack(config_of(family, layout))
    randomise(stack)
    with torch.no_grad():
        if stack.relative_bias is not None:
            stack.relative_bias.weight.normal_(generator=torch.Generator().manual_seed(5))
    return stack


@LAYOUTS
@FAMILIES
@pytest.mark.parametrize("heads", [[0], [1, 3], [0, 1, 2, 3]])
def test_pruned_heads_are_maps_of_zero(family, layout, heads):
    stack = stack_of(family, layout)
    zeroed = copy.deepcopy(stack)
    size = stack.blocks[0].attention.head_size
    for block, other in zip(stack.blocks, zeroed.blocks, strict=True):
        before = {name: p.clone() for name, p in block.attention.named_parameters()}
        pruned = block.attention.prune(heads)
        assert all(torch.equal(p, before[n]) for n, p in block.attention.named_parameters())
        block.attention = pruned
        assert pruned.heads == 4 - len(heads) and pruned.width == 24
        assert pruned.query.weight.shape == (size * pruned.heads, 24)
        assert pruned.out.weight.shape == (24, size * pruned.heads)
        with torch.no_grad():
            for head in heads:
                other.attention.out.weight[:, size * head : size * head + size] = 0
    speech = waveforms([700, 400])
    for explicit in (False, True):
        with torch.no_grad(), attention_maps(stack if explicit else zeroed, lambda *args: None):
            for ours, theirs in zip(stack(*speech)[0], zeroed(*speech)[0], strict=True):
                assert torch.allclose(ours, theirs, atol=1e-4)


@FAMILIES
def test_heads_are_pruned_step_by_step(family):
    """Heads count as they are numbered in the attention that is pruned."""
    attention = stack_of(family).blocks[0].attention
    at_once, twice = attention.prune([0, 2]), attention.prune([2]).prune([0])
    assert at_once.state_dict().keys() == twice.state_dict().keys()
    for name, parameter in at_once.state_dict().items():
        assert torch.equal(parameter, twice.state_dict()[name])
    with pytest.raises(ValueError, match=r"head 2 is not there \(heads 0 to 1\)"):
        twice.prune([2])


@FAMILIES
def test_a_follower_applies_the_leaders_map(family):
    stack = stack_of(family)
    follower = stack.blocks[1].attention.follower()
    assert follower.follower() is follower
    assert {name.split(".")[0] for name in follower.state_dict()} == {"value", "out"}
    stack.blocks[1].attention = follower
    speech = waveforms([700, 400])
    maps, inputs = {}, {}
    handle = stack.blocks[1].register_forward_hook(
        lambda block, args, out: inputs.update(x=args[0].x, y=out.x)
    )
    with torch.no_grad(), attention_maps(stack, lambda b, m, n: maps.update({b: m})):
        stack(*speech)
        block, x = stack.blocks[1], inputs["x"]
        value = follower.value(x).view(*x.shape[:2], 4, 6).transpose(1, 2)
        mixed = (maps[0] @ value).transpose(1, 2).flatten(2)
        y = block.attention_norm(x + follower.out(mixed))
        y = block.feed_forward_norm(y + block.feed_forward(y))
    handle.remove()
    assert torch.equal(maps[0], maps[1]) and not torch.equal(maps[1], maps[2])
    assert torch.allclose(inputs["y"], y, atol=1e-5)
    with pytest.raises(ValueError, match="reuses an attention map has none before it"):
        follower(torch.zeros(1, 3, 24), State(torch.zeros(1, 3, 24), torch.tensor([3])))


def bucket(distance, buckets, max_distance):
    """WavLM's formula (5), one distance at a time."""
    half = buckets // 2
    exact = half // 2
    offset, far = (half, distance) if distance > 0 else (0, -distance)
    if far < exact:
        return offset + far
    step = math.log(far / exact) / math.log(max_distance / exact) * (half - exact)
    return offset + min(half - 1, exact + int(step))


@pytest.mark.parametrize("buckets, max_distance", [(320, 800), (16, 12), (4, 2)])
def test_relative_bias(buckets, max_distance):
    table = RelativeBias(buckets, max_distance, heads=3)
    frames = 1000
    with torch.no_grad():
        table.weight.copy_(torch.arange(buckets * 3).view(buckets, 3))
        by_distance = table(frames)
    assert by_distance.shape == (3, 2 * frames - 1)
    for distance in range(1 - frames, frames):
        # float32 logarithms may round a distance at an edge into the next bucket, as WavLM's do
        row = int(by_distance[0, distance + frames - 1]) // 3
        near = {bucket(d, buckets, max_distance) for d in (distance - 1, distance, distance + 1)}
        assert row in near and (row == bucket(distance, buckets, max_distance) or len(near) > 1)


def test_bias_by_query():
    by_distance = torch.randn(2, 9)
    whole = by_query(by_distance)
    for query in range(5):
        for key in range(5):
            assert torch.equal(whole[:, query, key], by_distance[:, key - query + 4])
    for first in range(5):
        for last in range(first + 1, 6):
            rows = by_some_queries(by_distance, first, last)
            assert torch.equal(rows, whole[:, first:last].transpose(0, 1))


@pytest.mark.parametrize("first, queries, keys", [(0, 7, 7), (3, 2, 7), (2, 4, 6)])
def test_gated_bias(first, queries, keys):
    bias = GatedBias(torch.randn(2, 5, 7), torch.randn(5, 13))
    logits = torch.randn(queries, 3, keys)
    added = logits.clone()
    bias.add(added, 1, slice(2, 5), first)
    wanted = bias.whole()[1, 2:5, first : first + queries, :keys].transpose(0, 1)
    assert torch.allclose(added, logits + wanted, atol=1e-6)
    band = bias.band(2)
    for query in range(7):
        for key in range(max(0, query - 2), min(7, query + 3)):
            wanted = bias.whole()[..., query, key]
            assert torch.allclose(band[:, :, query, key - query + 2], wanted)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_any_block_of_wavlm_may_go(gone):
    """The table is the stack's: what is left computes as if it stood alone."""
    stack = stack_of("wavlm")
    speech, lengths = waveforms([700, 400])
    kept = [block for place, block in enumerate(stack.blocks) if place != gone]
    with torch.no_grad():
        state = stack.embed(speech, lengths)
        for block in kept:
            state = block(state)
        stack.blocks = torch.nn.ModuleList(kept)
        out, valid = stack.output(speech, lengths)
    for u, n in enumerate(valid.tolist()):
        assert torch.equal(out[u, :n], state.x[u, :n])
    assert "relative_bias.weight" in stack.state_dict()
