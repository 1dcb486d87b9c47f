"""Plans that put small networks in the place of blocks."""

from __future__ import annotations

import copy

import pytest
import torch
from small_stacks import KINDS, WAV2VEC2, WIDTH, assert_close, plan_for, run, small_stack, speech

from espnet_plugin.surgery.actions import Mimic
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.mimic import LinearLayer, MimicBlock, TransformerLayer


def linear_parameters(width, hidden, layers):
    return layers * (2 * width * hidden + hidden + width + 2 * hidden)


def transformer_parameters(width, hidden, layers):
    return layers * (4 * width * (width + 1) + 2 * width * hidden + hidden + width + 4 * width)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_a_linear_layer_is_the_formula():
    layer, x = LinearLayer(6, 4).double(), torch.randn(2, 5, 6).double()
    torch.nn.init.normal_(layer.norm.weight)
    torch.nn.init.normal_(layer.norm.bias)
    inner = x @ layer.contract.weight.t() + layer.contract.bias
    centred = inner - inner.mean(-1, keepdim=True)
    normed = centred / (inner.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    normed = normed * layer.norm.weight + layer.norm.bias
    expected = normed.clamp_min(0) @ layer.expand.weight.t() + layer.expand.bias
    torch.testing.assert_close(layer(x, None), expected)


def test_the_base_model_of_the_paper_has_five_million_parameters():
    """94.57 M to 5.00 M with h = 64: features, projection, mimic and a head of 0.2 M."""
    from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
    from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

    stack = Wav2Vec2Stack(Wav2Vec2Config.base(), "meta")
    head = 768 * 256 + 256 + 256 * 16 + 16
    assert round((parameters(stack) + head) / 1e6, 2) == 94.57
    edited = apply_plan(stack, plan_for(stack, Mimic((0, 11), 64, 2)))
    assert round((parameters(edited) + head) / 1e6, 2) == 5.00
    assert all(p.is_meta for p in edited.parameters())


@pytest.mark.parametrize("kind", ["linear", "transformer"])
def test_layers_are_counted_and_give_their_outputs_in_turn(kind):
    count = {"linear": linear_parameters, "transformer": transformer_parameters}[kind]
    for layers in (1, 2):
        block = MimicBlock(128, 10, layers, kind).double().eval()
        assert parameters(block) == count(128, 10, layers)
        x = torch.randn(2, 7, 128).double()
        a, *rest = block.outputs(x)
        torch.testing.assert_close(a, block.layers[0](x, None))
        if rest:
            torch.testing.assert_close(rest[0], block.layers[1](a, None))
    assert TransformerLayer(128, 10).layer.self_attn.num_heads == 2
    assert TransformerLayer(16, 10).layer.self_attn.num_heads == 1


def test_padding_cannot_be_felt_by_a_transformer_mimic():
    block = MimicBlock(16, 10, 2, "transformer").double()
    x, mask = torch.randn(2, 9, 16).double(), torch.arange(9) < torch.tensor([[9], [5]])
    for training in (False, True):
        block.train(training)
        for module in block.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(module, torch.nn.MultiheadAttention):
                module.dropout = 0.0
        got = block.outputs(x, mask)[-1][1, :5]
        torch.testing.assert_close(got, block.outputs(x[1:, :5])[-1][0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", ["linear", "transformer"])
def test_a_mimic_takes_the_place_of_its_blocks(kind, network):
    stack = small_stack(kind)
    edited = apply_plan(stack, plan_for(stack, Mimic((1, 2), 6, 2, network)))
    mimic = edited.blocks[1]
    assert isinstance(mimic, MimicBlock) and len(edited.blocks) == 3
    assert edited.block_numbers == (0, 2, 3)
    gone = sum(parameters(stack.blocks[place]) for place in (1, 2))
    assert parameters(edited) == parameters(stack) - gone + parameters(mimic)

    changed = copy.deepcopy(stack)
    changed.blocks[1].forward = mimic.forward
    changed.blocks[2].forward = lambda state: state
    hidden = run(changed)
    assert_close(run(edited), [hidden[0], hidden[1], hidden[3], hidden[4]])
    assert_close(run(edited, explicit=True), run(edited))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mimic_of_the_whole_stack(kind):
    stack = small_stack(kind)
    edited = apply_plan(stack, plan_for(stack, Mimic((0, 3), 6, 2)))
    hidden = run(edited)
    inputs, lengths = speech(stack)
    if kind in WAV2VEC2:  # takes the projected features; positions and what they need are gone
        features, frames = stack.frontend(inputs, lengths)
        mask = torch.arange(60) < frames[:, None]
        z = features * mask[..., None]
        assert edited.frontend.positions is None and edited.relative_bias is None
        assert (edited.norm is None) == (not stack.config.norm_first)
    else:
        z = stack.embed(inputs, lengths).x
    torch.testing.assert_close(hidden[0][1, :37], z[1, :37].detach())
    x = edited.blocks[0].outputs(z)[-1]
    expected = stack.finish(x)[1, :37].detach()
    torch.testing.assert_close(hidden[1][1, :37], expected)
    assert not hidden[1][1, 37:].any()


def test_a_mimic_is_made_in_the_stack_s_type_and_mode_and_learns():
    stack = small_stack("wav2vec2").train()
    edited = apply_plan(stack, plan_for(stack, Mimic((0, 3), 6, 2)))
    assert edited.blocks[0].training and parameters(edited.blocks[0]) == (
        linear_parameters(WIDTH, 6, 2)
    )
    x, _ = edited.output(*speech(edited))
    assert x.dtype == torch.float64
    x.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in edited.blocks[0].parameters())
