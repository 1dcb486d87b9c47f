"""The maps that hooks read are the model's own, and nothing is kept."""

from __future__ import annotations

import gc
import inspect
import math
import weakref

import pytest
import torch
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder

from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder
from espnet_plugin.stacks.hooks import attention_maps

SMALL = {"output_size": 16, "attention_heads": 2, "linear_units": 16, "num_blocks": 3}
REL = {"rel_pos_type": "latest", "cnn_module_kernel": 3}
LEGACY = {"rel_pos_type": "legacy", "cnn_module_kernel": 3}
ABSOLUTE = {
    "pos_enc_layer_type": "abs_pos",
    "selfattention_layer_type": "selfattn",
    "cnn_module_kernel": 3,
}
LENGTHS = [60, 45]


def make(encoder, options):
    torch.manual_seed(0)
    return encoder(20, **SMALL, **options).eval()


def features():
    return torch.randn(2, 60, 20, generator=torch.Generator().manual_seed(1)), torch.tensor(LENGTHS)


def collect(encoder):
    found = []
    with attention_maps(encoder, lambda *args: found.append(args)), torch.no_grad():
        output = encoder(*features())
    return found, output[1]


def naive_maps(attention, x, pos_emb, mask):
    """Head by head, query by query, in float64, from the module's own parameters."""

    def linear(layer, values):
        bias = 0 if layer.bias is None else layer.bias.double()
        return values.double() @ layer.weight.double().T + bias

    batch, frames, _ = x.shape
    q, k = linear(attention.linear_q, x), linear(attention.linear_k, x)
    relative = hasattr(attention, "linear_pos")
    p = linear(attention.linear_pos, pos_emb)[0] if relative else None
    maps = torch.zeros(batch, attention.h, frames, frames, dtype=torch.float64)
    for h in range(attention.h):
        part = slice(h * attention.d_k, (h + 1) * attention.d_k)
        for i in range(frames):
            for u in range(batch):
                query, keys = q[u, i, part], k[u, :, part]
                if relative:
                    content = query + attention.pos_bias_u[h].double()
                    place = query + attention.pos_bias_v[h].double()
                    # position row c of pos_emb is the distance i − j = T−1−c
                    rows = torch.arange(frames) + frames - 1 - i
                    scores = keys @ content + p[rows][:, part] @ place
                else:
                    scores = keys @ query
                scores = scores / math.sqrt(attention.d_k)
                scores[~mask[u, 0]] = -math.inf
                maps[u, h, i] = scores.softmax(0)
    return maps


@pytest.mark.parametrize("options", [REL, ABSOLUTE], ids=["relative", "absolute"])
@pytest.mark.parametrize("kind", [ConformerEncoder, ReuseConformerEncoder])
def test_maps_equal_a_naive_computation(kind, options):
    encoder = make(kind, options)
    inputs = {}

    def remember(module, args):
        if kind is ConformerEncoder:
            inputs[module] = (args[0], args[3] if len(args) == 5 else None, args[-1])
        else:
            inputs[module] = args[:3]

    for block in encoder.encoders:
        block.self_attn.register_forward_pre_hook(remember)
    found, lengths = collect(encoder)
    assert [block for block, _, _ in found] == [0, 1, 2]
    for block, maps, valid in found:
        attention = encoder.encoders[block].self_attn
        assert valid.tolist() == lengths.tolist()
        with torch.no_grad():
            wanted = naive_maps(attention, *inputs[attention])
        for u, frames in enumerate(lengths.tolist()):
            got = maps[u, :, :frames, :frames].double()
            assert torch.allclose(got, wanted[u, :, :frames, :frames], rtol=0, atol=1e-6)
            assert torch.allclose(got.sum(-1), torch.ones(()).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "kind, options",
    [(ConformerEncoder, REL), (ConformerEncoder, LEGACY), (TransformerEncoder, {})],
    ids=["conformer", "legacy", "transformer"],
)
def test_maps_equal_the_modules_attn(kind, options):
    encoder = make(kind, options)
    with torch.no_grad():
        encoder(*features())
    own = [block.self_attn.attn.clone() for block in encoder.encoders]
    found, lengths = collect(encoder)
    for (_, maps, valid), attn in zip(found, own, strict=True):
        assert torch.equal(maps, attn)
        assert torch.equal(valid, lengths)
    assert all(block.self_attn.attn is None for block in encoder.encoders)


@pytest.mark.parametrize(
    "kind, options",
    [
        (ConformerEncoder, REL),
        (ConformerEncoder, LEGACY),
        (ConformerEncoder, ABSOLUTE),
        (TransformerEncoder, {}),
    ],
    ids=["rel", "legacy", "absolute", "transformer"],
)
def test_maps_with_sdpa_equal_those_without(kind, options):
    if "use_sdpa" not in inspect.signature(kind.__init__).parameters:
        pytest.skip(f"this ESPnet's {kind.__name__} has no use_sdpa")
    plain, fused = make(kind, options), make(kind, {**options, "use_sdpa": True})
    fused.load_state_dict(plain.state_dict())
    with torch.no_grad():
        before = fused(*features())[0]
    assert fused.encoders[0].self_attn.attn is None
    for (_, maps, _), (_, wanted, _) in zip(collect(fused)[0], collect(plain)[0], strict=True):
        assert torch.equal(maps, wanted)
    assert all(block.self_attn.use_sdpa for block in fused.encoders)
    with torch.no_grad():
        assert torch.equal(fused(*features())[0], before)
    assert fused.encoders[0].self_attn.attn is None


def test_flash_attention_is_switched_off_for_the_duration():
    encoder = make(ConformerEncoder, ABSOLUTE)
    wanted = collect(encoder)[0]
    seen = []
    for block in encoder.encoders:
        block.self_attn.use_flash_attn = True
    with attention_maps(
        encoder, lambda b, maps, n: seen.append((encoder.encoders[b].self_attn, maps))
    ):
        assert not any(block.self_attn.use_flash_attn for block in encoder.encoders)
        with torch.no_grad():
            encoder(*features())
    assert all(torch.equal(m, w[1]) for (_, m), w in zip(seen, wanted, strict=True))
    assert all(block.self_attn.use_flash_attn for block in encoder.encoders)


def test_followers_show_the_leaders_map():
    encoder = make(ReuseConformerEncoder, {**REL, "reuse_groups": [[0, 1], [2]]})
    found, _ = collect(encoder)
    maps = {block: value for block, value, _ in found}
    assert sorted(maps) == [0, 1, 2]
    assert torch.equal(maps[0], maps[1]) and not torch.equal(maps[1], maps[2])


def test_no_padding_means_full_lengths():
    encoder = make(ReuseConformerEncoder, REL)
    found = []
    x = torch.randn(2, 60, 20)
    with attention_maps(encoder, lambda *args: found.append(args)), torch.no_grad():
        _, lengths, _ = encoder(x, torch.tensor([60, 60]))
    assert all(torch.equal(valid, lengths) for _, _, valid in found)


@pytest.mark.parametrize("kind", [ConformerEncoder, ReuseConformerEncoder])
def test_nothing_is_kept_or_left_behind(kind):
    encoder = make(kind, REL)
    alive = []
    with attention_maps(encoder, lambda b, maps, n: alive.append(weakref.ref(maps))):
        with torch.no_grad():
            encoder(*features())
    gc.collect()
    assert len(alive) == 3 and all(ref() is None for ref in alive)
    calls = len(alive)
    with torch.no_grad():
        encoder(*features())
    assert len(alive) == calls
    for block in encoder.encoders:
        assert getattr(block.self_attn, "map_hook", None) is None
        assert not block.self_attn._forward_hooks


def test_an_exception_in_the_callback_restores_the_encoder():
    encoder = make(ConformerEncoder, REL)

    def fail(*args):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), attention_maps(encoder, fail):
        encoder(*features())
    assert not any(block.self_attn._forward_hooks for block in encoder.encoders)


def test_encoders_without_readable_maps_are_refused():
    with pytest.raises(TypeError, match="Linear has no list of blocks"):
        with attention_maps(torch.nn.Linear(1, 1), print):
            pass
