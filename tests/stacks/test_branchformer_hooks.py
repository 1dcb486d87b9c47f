"""Maps of Branchformers: the attention branch's own, of every kind that has maps."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from espnet2.asr.encoder.branchformer_encoder import BranchformerEncoder
from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder

from espnet_plugin.analysis.suite.subject import Subject
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.hooks import attention_maps

SMALL = {"output_size": 16, "num_blocks": 3, "cgmlp_linear_units": 24, "cgmlp_conv_kernel": 3}
LAYERS = {
    "relative": {"rel_pos_type": "latest"},
    "legacy": {"rel_pos_type": "legacy"},
    "absolute": {"pos_enc_layer_type": "abs_pos", "attention_layer_type": "selfattn"},
}
FAST = {"pos_enc_layer_type": "abs_pos", "attention_layer_type": "fast_selfattn"}


def make(kind, layer="relative", heads=2, **options):
    torch.manual_seed(0)
    encoder = kind(20, **SMALL, **LAYERS.get(layer, {}), attention_heads=heads, **options).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return encoder


def batch(lengths):
    x = torch.randn(len(lengths), max(lengths), 20, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor(lengths)
    return x.masked_fill((torch.arange(x.size(1)) >= lengths[:, None])[..., None], 0.0), lengths


def collect(encoder, lengths):
    found = []
    with attention_maps(encoder, lambda *args: found.append(args)), torch.no_grad():
        _, frames, _ = encoder(*batch(lengths))
    return found, frames


def row_of(attention, x, positions, legacy, head, query, keys):
    """One row of the map of one utterance, float64, from the parameters alone."""

    def project(layer, values):
        bias = 0 if layer.bias is None else layer.bias.double()
        part = slice(head * attention.d_k, (head + 1) * attention.d_k)
        return (values.double() @ layer.weight.double().T + bias)[..., part]

    q, k = project(attention.linear_q, x)[query], project(attention.linear_k, x)
    if positions is None:
        scores = k @ q
    else:
        p = project(attention.linear_pos, positions[0])
        frames = len(x)
        # row c of the embedding is the distance T-1-c; the legacy one has only those from 0 on
        # before the query, and its shift puts those of the next query after it
        scores = k @ (q + attention.pos_bias_u[head].double())
        v = attention.pos_bias_v[head].double()
        if legacy:
            following = project(attention.linear_q, x)[query + 1] if query + 1 < frames else None
            for j in range(frames):
                if j <= query:
                    scores[j] += p[frames - 1 - query + j] @ (q + v)
                elif j > query + 1:
                    scores[j] += p[j - query - 2] @ (following + v)
        else:
            scores = scores + p[torch.arange(frames) + frames - 1 - query] @ (q + v)
    scores = scores / math.sqrt(attention.d_k)
    scores[keys:] = -math.inf
    return scores.softmax(0)


@pytest.mark.parametrize("layer, heads", [(name, 2) for name in LAYERS] + [("relative", 1)])
@pytest.mark.parametrize("kind", [BranchformerEncoder, EBranchformerEncoder])
def test_maps_equal_a_naive_computation(kind, layer, heads):
    encoder = make(kind, layer, heads)
    inputs = []
    for block in encoder.encoders:
        block.attn.register_forward_pre_hook(
            lambda module, args: inputs.append((args[0], args[3] if len(args) == 5 else None))
        )
    found, frames = collect(encoder, [60, 45])
    assert [block for block, _, _ in found] == [0, 1, 2]
    for block, maps, valid in found:
        assert valid.tolist() == frames.tolist() and valid.dtype == torch.int64
        attention, (x, positions) = encoder.encoders[block].attn, inputs[block]
        assert maps.shape == (2, heads, 14, 14)
        for u, count in enumerate(frames.tolist()):
            for head in range(heads):
                for query in range(0, count, 3):
                    with torch.no_grad():
                        wanted = row_of(
                            attention, x[u], positions, layer == "legacy", head, query, count
                        )
                    torch.testing.assert_close(maps[u, head, query].double(), wanted)


@pytest.mark.parametrize("kind", [BranchformerEncoder, EBranchformerEncoder])
def test_maps_equal_the_modules_attn_and_are_freed(kind):
    encoder = make(kind)
    with torch.no_grad():
        before = encoder(*batch([60, 45]))[0]
    own = [block.attn.attn.clone() for block in encoder.encoders]
    found, _ = collect(encoder, [60, 45])
    assert all(torch.equal(m, a) for (_, m, _), a in zip(found, own, strict=True))
    assert all(block.attn.attn is None for block in encoder.encoders)
    with torch.no_grad():
        assert torch.equal(encoder(*batch([60, 45]))[0], before)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", [BranchformerEncoder, EBranchformerEncoder])
def test_fused_attention_is_explicit_only_while_someone_asks(kind, layer):
    if "use_sdpa" not in inspect.signature(kind.__init__).parameters:
        pytest.skip(f"this ESPnet's {kind.__name__} has no use_sdpa")
    plain, fused = make(kind, layer), make(kind, layer, use_sdpa=True)
    fused.load_state_dict(plain.state_dict())
    for (_, maps, _), (_, wanted, _) in zip(
        collect(fused, [60, 45])[0], collect(plain, [60, 45])[0], strict=True
    ):
        assert torch.equal(maps, wanted)
    assert all(block.attn.use_sdpa for block in fused.encoders)
    with torch.no_grad():
        fused(*batch([60, 45]))
    assert all(block.attn.attn is None for block in fused.encoders)


@pytest.mark.parametrize("kind", [BranchformerEncoder, EBranchformerEncoder])
def test_one_frame(kind):
    found, frames = collect(make(kind), [7])
    assert frames.tolist() == [1]
    assert all(maps.flatten().tolist() == [1.0, 1.0] for _, maps, _ in found)


def test_a_block_without_the_attention_branch_has_no_map():
    encoder = make(BranchformerEncoder, merge_method="fixed_ave", cgmlp_weight=[0.5, 1.0, 0.0])
    found, _ = collect(encoder, [60, 45])
    assert [block for block, _, _ in found] == [0, 2]
    subject = Subject("exp", encoder)
    assert (subject.heads, subject.groups) == ([2, 0, 2], [[0], [2]])


@pytest.mark.parametrize("kind", [BranchformerEncoder, EBranchformerEncoder])
def test_attention_without_maps_is_refused(kind):
    encoder = make(kind, **FAST)
    message = f"block 0 of {kind.__name__} has FastSelfAttention for self-attention"
    with pytest.raises(TypeError, match=message):
        with attention_maps(encoder, print):
            pass
    with pytest.raises(StackError, match=f"exp: {message}"):
        Subject("exp", encoder)
