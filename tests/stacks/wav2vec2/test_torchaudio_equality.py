"""Hidden states and maps are those of torchaudio's models."""

from __future__ import annotations

import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st
from wav2vec2_originals import (
    BASE,
    LARGE,
    config_of,
    from_torchaudio,
    normalised,
    torchaudio_model,
    waveforms,
)

from espnet_plugin.stacks.hooks import attention_maps

WAVLM = pytest.param(
    "wavlm",
    marks=pytest.mark.skipif(
        not hasattr(torchaudio.models, "wavlm_model"), reason="this torchaudio has no WavLM"
    ),
)
FAMILIES = ["wav2vec2", "hubert", WAVLM]
LAYOUTS = pytest.mark.parametrize("layout", [BASE, LARGE], ids=["base", "large"])
SHORTEST = 30
"""Samples of one frame, and of one more: 20."""


def original(model, config, speech, lengths):
    """What goes into block 0, what leaves each block, and each block's maps (valid frames)."""
    if config.normalize_waveform:
        speech = normalised(speech, lengths)
    with torch.no_grad():
        features, frames = model.feature_extractor(speech, lengths)
        x = model.encoder.feature_projection(features)
        padded = torch.arange(x.size(1)) >= frames[:, None]
        x = x.masked_fill(padded[..., None], 0.0)
        x = model.encoder.transformer._preprocess(x)
        hidden, maps, bias = [x], [], None
        for layer in model.encoder.transformer.layers:
            inside = layer.layer_norm(x) if layer.layer_norm_first else x
            if config.family == "wavlm":
                maps.append(wavlm_maps(layer.attention, inside, padded, bias))
                bias = layer.attention(inside, position_bias=bias)[1] if bias is None else bias
                x, _ = layer(x, position_bias=bias, key_padding_mask=padded)
            else:
                mask = (-10000.0 * padded)[:, None, None, :].expand(-1, 1, x.size(1), -1)
                maps.append(plain_maps(layer.attention, inside, padded))
                out = layer(x, mask)
                x = out[0] if isinstance(out, tuple) else out
            hidden.append(x)
        if config.norm_first:
            hidden[-1] = model.encoder.transformer.layer_norm(x)
    return hidden, maps, frames


def plain_maps(attention, x, padded):
    """Head by head in float64, from the parameters of torchaudio's module."""
    q = x.double() @ attention.q_proj.weight.double().T + attention.q_proj.bias.double()
    k = x.double() @ attention.k_proj.weight.double().T + attention.k_proj.bias.double()
    return naive(q, k, attention.num_heads, padded)


def naive(q, k, heads, padded, bias=None):
    size = q.size(-1) // heads
    maps = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / size**0.5
        if bias is not None:
            scores = scores + bias[:, head]
        maps.append(scores.masked_fill(padded[:, None, :], -torch.inf).softmax(-1))
    return torch.stack(maps, 1)


def wavlm_maps(attention, x, padded, bias):
    batch, frames, width = x.shape
    heads, size = attention.num_heads, attention.head_dim
    if bias is None:
        bias = attention.compute_bias(frames, frames).expand(batch, -1, -1, -1)
    weight, offset = attention.attention.in_proj_weight, attention.attention.in_proj_bias
    joint = x.double() @ weight.double().T + offset.double()
    by_head = x.double().view(batch, frames, heads, size).transpose(1, 2)
    linear = attention.gru_rel_pos_linear
    gates = by_head @ linear.weight.double().T + linear.bias.double()
    a, b = gates.view(batch, heads, frames, 2, 4).sum(-1).sigmoid().unbind(-1)
    scale = a * (b * attention.gru_rel_pos_const.double()[..., 0] - 1.0) + 2.0
    gated = scale.unsqueeze(-1) * bias.view(batch, heads, frames, frames).double()
    return naive(joint[..., :width], joint[..., width : 2 * width], heads, padded, gated)


def check(stack, model, speech, lengths, atol=1e-4):
    wanted, maps, frames = original(model, stack.config, speech, lengths)
    with torch.no_grad():
        hidden, valid = stack(speech, lengths)
        last, _ = stack.output(speech, lengths)
        found = []
        with attention_maps(stack, lambda *args: found.append(args)):
            with_maps, _ = stack(speech, lengths)
    assert valid.dtype == torch.int64 and valid.tolist() == frames.tolist()
    assert len(hidden) == len(wanted) == len(stack.blocks) + 1
    assert [place for place, _, _ in found] == list(range(len(stack.blocks)))
    for ours, explicit, theirs in zip(hidden, with_maps, wanted, strict=True):
        assert ours.dtype == torch.float32 and ours.shape == theirs.shape
        for u, n in enumerate(frames.tolist()):
            assert torch.allclose(ours[u, :n], theirs[u, :n], rtol=1e-4, atol=atol)
            assert torch.allclose(explicit[u, :n], theirs[u, :n], rtol=1e-4, atol=atol)
            assert not ours[u, n:].any()
    assert torch.equal(last, hidden[-1])
    for (_, ours, valid), theirs in zip(found, maps, strict=True):
        assert valid.tolist() == frames.tolist()
        for u, n in enumerate(frames.tolist()):
            assert torch.allclose(
                ours[u, :, :n, :n].double(), theirs[u, :, :n, :n], rtol=0, atol=1e-4
            )
            assert not ours[u, :, :n, n:].any()


@LAYOUTS
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(SHORTEST, 900), min_size=1, max_size=4))
def test_hidden_states_and_maps(family, layout, lengths):
    config = config_of(family, layout)
    model = torchaudio_model(config)
    check(from_torchaudio(model, config), model, *waveforms(lengths))


@LAYOUTS
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lengths", [[SHORTEST], [SHORTEST, SHORTEST], [900, SHORTEST, 49, 50]])
def test_one_frame_is_enough(family, layout, lengths):
    config = config_of(family, layout)
    model = torchaudio_model(config)
    stack = from_torchaudio(model, config)
    check(stack, model, *waveforms(lengths))
    assert stack.frontend.shortest == SHORTEST
    with pytest.raises(ValueError, match=f"has {SHORTEST - 1} samples, and a frame {SHORTEST}"):
        stack(*waveforms([60, SHORTEST - 1]))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("heads", [1, 24])
def test_one_head_and_heads_of_one_channel(family, heads):
    config = config_of(family, LARGE, heads=heads)
    model = torchaudio_model(config)
    check(from_torchaudio(model, config), model, *waveforms([700, 420]))


@LAYOUTS
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients(family, layout):
    """With gradients another path is taken, through torch's own layers."""
    config = config_of(family, layout, normalize_waveform=False)
    model = torchaudio_model(config)
    stack = from_torchaudio(model, config)
    speech, _ = waveforms([800, 800])
    (stack.output(speech)[0] ** 2).mean().backward()
    with torch.backends.mkldnn.flags(enabled=False):  # torch 1.13's own GELU: test_activation.py
        (model(speech)[0] ** 2).mean().backward()
    theirs = model.encoder.transformer.layers[1].feed_forward.output_dense.weight.grad
    assert torch.allclose(stack.blocks[1].feed_forward.contract.weight.grad, theirs, atol=1e-4)
    wanted = model.feature_extractor.conv_layers[0].conv.weight.grad
    conv = stack.frontend.convolutions[0].conv.weight.grad
    assert torch.allclose(conv, wanted, rtol=1e-3, atol=1e-4)
    if family == "wavlm":
        table = model.encoder.transformer.layers[0].attention.rel_attn_embed.weight.grad
        assert torch.allclose(stack.relative_bias.weight.grad, table, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_full_length_needs_no_lengths(family):
    config = config_of(family, BASE)
    stack = from_torchaudio(torchaudio_model(config), config)
    speech, lengths = waveforms([640, 640])
    with torch.no_grad():
        for a, b in zip(stack(speech)[0], stack(speech, lengths)[0], strict=True):
            assert torch.equal(a, b)
