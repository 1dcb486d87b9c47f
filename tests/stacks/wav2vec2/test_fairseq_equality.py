"""Hidden states are those of fairseq's models, padded batches included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from wav2vec2_originals import (
    BASE,
    LARGE,
    config_of,
    fairseq_model,
    from_fairseq,
    normalised,
    waveforms,
)

from espnet_plugin.stacks.hooks import attention_maps

pytest.importorskip("fairseq", reason="fairseq is not installed")

LAYOUTS = pytest.mark.parametrize("layout", [BASE, LARGE], ids=["base", "large"])
FAMILIES = pytest.mark.parametrize("family", ["wav2vec2", "hubert"])


def layout_of(family, layout, **changes):
    return config_of(
        family, layout, padding="cells" if family == "hubert" else "convolution", **changes
    )


def original(model, config, speech, lengths):
    """Each block's output, the final output, the maps and the padding mask of fairseq."""
    if config.normalize_waveform:
        speech = normalised(speech, lengths)
    padding = torch.arange(speech.size(1)) >= lengths[:, None]
    outputs, maps = [], []

    def keep(layer, inputs, output):
        outputs.append(output[0].transpose(0, 1))

    def keep_maps(attention, inputs, kwargs):
        query, mask = kwargs["query"], kwargs["key_padding_mask"]
        maps.append(map_of(attention, query.transpose(0, 1), mask))

    handles = []
    for layer in model.encoder.layers:
        handles.append(layer.register_forward_hook(keep))
        forward = layer.self_attn.forward

        def with_maps(*args, attention=layer.self_attn, forward=forward, **kwargs):
            keep_maps(attention, args, kwargs)
            return forward(*args, **kwargs)

        layer.self_attn.forward = with_maps
    with torch.no_grad():
        if config.family == "hubert":
            x, mask = model.extract_features(speech, padding, mask=False)
        else:
            found = model.extract_features(speech, padding, mask=False)
            x, mask = found["x"], found["padding_mask"]
    for handle in handles:
        handle.remove()
    for layer in model.encoder.layers:
        del layer.self_attn.forward
    frames = x.size(1)
    outputs = [out[:, :frames] for out in outputs]
    outputs[-1] = x
    if mask is None:
        mask = torch.zeros(x.shape[:2], dtype=torch.bool)
    return outputs, [m[..., :frames, :frames] for m in maps], (~mask).sum(1)


def map_of(attention, x, padded):
    """In float64, head by head, from the parameters of fairseq's module."""
    q = x.double() @ attention.q_proj.weight.double().T + attention.q_proj.bias.double()
    k = x.double() @ attention.k_proj.weight.double().T + attention.k_proj.bias.double()
    size, heads = attention.head_dim, []
    for head in range(attention.num_heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / size**0.5
        if padded is not None:
            scores = scores.masked_fill(padded[:, None, :].bool(), -torch.inf)
        heads.append(scores.softmax(-1))
    return torch.stack(heads, 1)


def check(model, config, lengths):
    stack = from_fairseq(model, config)
    speech, lengths = waveforms(lengths)
    wanted, maps, frames = original(model, config, speech, lengths)
    found = []
    with torch.no_grad():
        hidden, valid = stack(speech, lengths)
        with attention_maps(stack, lambda *args: found.append(args)):
            stack.output(speech, lengths)
    assert valid.tolist() == frames.tolist()
    for ours, theirs in zip(hidden[1:], wanted, strict=True):
        for u, n in enumerate(frames.tolist()):
            assert torch.allclose(ours[u, :n], theirs[u, :n], rtol=1e-4, atol=1e-4)
            assert not ours[u, n:].any()
    for (_, ours, _), theirs in zip(found, maps, strict=True):
        for u, n in enumerate(frames.tolist()):
            error = (ours[u, :, :n, :n].double() - theirs[u, :, :n, :n]).abs().max()
            assert error < 1e-4


@LAYOUTS
@FAMILIES
@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(30, 900), min_size=1, max_size=4))
def test_hidden_states_and_maps(family, layout, lengths):
    config = layout_of(family, layout)
    check(fairseq_model(config), config, lengths)


@FAMILIES
@pytest.mark.parametrize("lengths", [[30], [30, 30], [50, 30], [731, 30, 730]])
def test_one_frame_is_enough(family, lengths):
    config = layout_of(family, LARGE)
    check(fairseq_model(config), config, lengths)


@FAMILIES
def test_one_head_without_projection(family):
    changes = {"heads": 1, "conv_layers": ((12, 10, 5), (24, 3, 2)), "projection": False}
    config = layout_of(family, BASE, **changes)
    model = fairseq_model(config)
    assert model.post_extract_proj is None
    check(model, config, [400, 333])


@LAYOUTS
def test_training_on_the_same_dropout_free_model(layout):
    """In training mode with all dropout off the model is the same function."""
    off = ("input_dropout", "dropout", "attention_dropout", "activation_dropout", "layer_drop")
    config = layout_of("wav2vec2", layout, **dict.fromkeys(off, 0.0))
    model = fairseq_model(config)
    stack = from_fairseq(model, config).train()
    speech, lengths = waveforms([500, 420])
    wanted, _, frames = original(model, config, speech, lengths)
    hidden, _ = stack(speech, lengths)
    for ours, theirs in zip(hidden[1:], wanted, strict=True):
        for u, n in enumerate(frames.tolist()):
            assert torch.allclose(ours[u, :n], theirs[u, :n], rtol=1e-4, atol=1e-4)
