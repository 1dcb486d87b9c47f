"""Heads masked and spans limited for a while, against physical edits and naive maps."""

from __future__ import annotations

import pytest
import torch
from espnet2.asr.encoder.branchformer_encoder import BranchformerEncoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from small_stacks import HEADS, KINDS, assert_close, maps_of, plan_for, run, small_stack, with_maps

from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.map_edits import edited_maps
from espnet_plugin.surgery.actions import LocalAttention, PruneHeads, ReuseAttention
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.head_masks import limited_span, masked_heads, near

MASKED = [(0, 1), (1, 0), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3)]


def pruning(heads):
    by_block = {}
    for block, head in heads:
        by_block.setdefault(block, []).append(head)
    return [PruneHeads(block, tuple(chosen)) for block, chosen in sorted(by_block.items())]


# -- stacks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_masked_heads_equal_pruned_ones(kind):
    stack = small_stack(kind)
    before = run(stack)
    with masked_heads(stack, MASKED):
        masked = run(stack)
    assert_close(masked, run(apply_plan(stack, plan_for(stack, *pruning(MASKED)))))
    assert not torch.allclose(masked[-1], before[-1])
    assert all(torch.equal(a, b) for a, b in zip(run(stack), before, strict=True))


@pytest.mark.parametrize("kind", ["wavlm", "conformer"])
def test_a_leaders_masked_head_is_masked_for_its_followers(kind):
    stack = small_stack(kind)
    groups = plan_for(stack, ReuseAttention(1, 0), ReuseAttention(2, 0))
    reuse = apply_plan(stack, groups)
    heads = [(0, 1), (0, 2), (3, 0)]
    with masked_heads(reuse, heads):
        masked, maps = run(reuse), maps_of(reuse)
    assert_close(masked, run(apply_plan(reuse, plan_for(reuse, *pruning(heads)))))
    for block in (0, 1, 2):
        assert torch.equal(maps[block], maps[0]) and not maps[block][:, [1, 2]].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_renormalised_span_equals_the_plans_window(kind):
    stack = small_stack(kind)
    windows = {0: 3, 2: 11}
    plan = plan_for(stack, *(LocalAttention(block, window) for block, window in windows.items()))
    with limited_span(stack, windows, renormalise=True):
        limited = run(stack)
    assert_close(limited, run(apply_plan(stack, plan)))


@pytest.mark.parametrize("kind", ["wavlm", "conformer"])
@pytest.mark.parametrize("renormalise", [False, True])
def test_spans_against_naive_maps(kind, renormalise):
    stack = small_stack(kind)

    def naive(maps):
        result = torch.zeros_like(maps)
        frames = maps.size(-1)
        for q in range(frames):
            inside = range(max(0, q - 4), min(frames, q + 5))
            for k in inside:
                result[..., q, k] = maps[..., q, k]
            if renormalise:
                result[..., q, :] /= result[..., q, :].sum(-1, keepdim=True).clamp(min=1e-300)
        return result

    with limited_span(stack, {1: 4}, renormalise):
        assert_close(run(stack), run(with_maps(stack, 1, naive), explicit=True))


@pytest.mark.parametrize("kind", ["wav2vec2", "transformer"])
def test_the_longest_span_changes_nothing_and_none_leaves_the_diagonal(kind):
    stack = small_stack(kind)
    explicit = run(stack, explicit=True)
    for span in (59, 60, 1000):
        with limited_span(stack, span):
            assert all(torch.equal(a, b) for a, b in zip(run(stack), explicit, strict=True))
    with edited_maps(stack, lambda block, maps, lengths: maps):
        whole = maps_of(stack)
    with limited_span(stack, 0):
        maps = maps_of(stack)
    assert torch.equal(maps[0], torch.diag_embed(whole[0].diagonal(dim1=-2, dim2=-1)))
    assert all(
        not (m - torch.diag_embed(m.diagonal(dim1=-2, dim2=-1))).any() for m in maps.values()
    )
    with limited_span(stack, 0, renormalise=True):
        own = maps_of(stack)[0][1, :, :37, :37]
    torch.testing.assert_close(own, torch.eye(37, dtype=own.dtype).expand_as(own))


def test_a_head_that_is_not_there_is_refused_and_nothing_is_left_behind():
    stack = small_stack("conformer")
    before = run(stack)
    with pytest.raises(ValueError, match=f"block 2 has {HEADS} heads, and not \\[0, 4\\]"):
        with masked_heads(stack, [(2, 4), (2, 0)]):
            run(stack)
    assert all(torch.equal(a, b) for a, b in zip(run(stack), before, strict=True))
    assert stack.blocks[2].attention.map_edit is None
    with pytest.raises(ValueError, match="a span is 0 frames or more, not -1"):
        with limited_span(stack, -1):
            pass
    with pytest.raises(RuntimeError, match="being edited already"):
        with masked_heads(stack, [(0, 0)]), limited_span(stack, 3):
            pass
    assert stack.map_edit is None


def test_rows_of_which_nothing_is_left_stay_zero():
    maps = torch.tensor([[[0.5, 0.0, 0.5], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]])
    assert near(maps, 0, renormalise=True).tolist() == [[[1, 0, 0], [0, 0, 0], [0, 0, 0]]]


# -- ESPnet's own encoders ----------------------------------------------------------------------

SMALL = {"output_size": 16, "attention_heads": 2, "num_blocks": 3}
REL = {"linear_units": 16, "rel_pos_type": "latest", "cnn_module_kernel": 3}
ENCODERS = {
    "conformer": (ConformerEncoder, REL),
    "transformer": (TransformerEncoder, {"linear_units": 16}),
    "reuse": (ReuseConformerEncoder, {**REL, "reuse_groups": [[0], [1, 2]]}),
    "branchformer": (BranchformerEncoder, {"rel_pos_type": "latest", "cgmlp_linear_units": 16}),
    "e_branchformer": (
        EBranchformerEncoder,
        {"rel_pos_type": "latest", "cgmlp_linear_units": 16, "linear_units": 16},
    ),
}


def encode(encoder):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 60, 20, generator=generator)
    with torch.no_grad():
        return encoder(x, torch.tensor([60, 45]))[0]


def attention_of(block):
    return block.self_attn if hasattr(block, "self_attn") else block.attn


@pytest.mark.parametrize("name", ENCODERS)
def test_masking_equals_values_of_zero(name):
    """A head whose map is zero says what a head whose values are zero says."""
    kind, options = ENCODERS[name]
    torch.manual_seed(0)
    encoder = kind(20, **SMALL, **options).eval()
    if name == "reuse":
        encoder.encoders[2].self_attn.linear_v.bias.data.normal_()
    before = encode(encoder)
    seen = {}
    with masked_heads(encoder, [(1, 1), (0, 0)]):
        with attention_maps(encoder, lambda block, maps, lengths: seen.__setitem__(block, maps)):
            masked = encode(encoder)
        assert torch.equal(encode(encoder), masked)
    assert not seen[1][:, 1].any() and not seen[0][:, 0].any() and seen[1][:, 0].any()
    assert torch.equal(encode(encoder), before) and not torch.allclose(masked, before)
    zeroed = [(0, 0), (1, 1), *([(2, 1)] if name == "reuse" else [])]
    with torch.no_grad():
        for block, head in zeroed:
            value = attention_of(encoder.encoders[block]).linear_v
            value.weight[8 * head : 8 * head + 8] = 0.0
            value.bias[8 * head : 8 * head + 8] = 0.0
    torch.testing.assert_close(masked, encode(encoder), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_exception_leaves_the_encoder_as_it_was(name):
    kind, options = ENCODERS[name]
    torch.manual_seed(0)
    encoder = kind(20, **SMALL, **options).eval()
    dropouts = [attention_of(block).dropout for block in encoder.encoders]

    def fail(*ignored):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), edited_maps(encoder, fail):
        encode(encoder)
    for block, dropout in zip(encoder.encoders, dropouts, strict=True):
        attention = attention_of(block)
        assert attention.dropout is dropout and attention.attn is None
        assert not attention._forward_pre_hooks and not getattr(attention, "map_edit", None)
    with limited_span(encoder, 60):
        whole = encode(encoder)
    assert torch.equal(whole, encode(encoder))
    with pytest.raises(RuntimeError, match="being edited already"):
        with limited_span(encoder, 1), limited_span(encoder, 2):
            pass


@pytest.mark.parametrize("block", [9, -1])
def test_a_block_that_is_not_there_is_refused(block):
    stack = small_stack("conformer")
    with pytest.raises(ValueError, match=f"block {block} has no map of its own to mask"):
        with masked_heads(stack, [(block, 0)]):
            run(stack)
    assert all(one.attention.map_edit is None for one in stack.blocks)
