"""Followers against the formula, and what a group means for loading, dropout and padding."""

from __future__ import annotations

import argparse
import math

import pytest
import torch
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.torch_utils.load_pretrained_model import load_pretrained_model

from espnet_plugin.compat import RelPositionalEncoding, conformer_takes
from espnet_plugin.encoders.attention import FollowerAttention, LeaderAttention
from espnet_plugin.encoders.groups import resolve_reuse_groups, reuse_groups
from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder
from espnet_plugin.surgery.plan import BlockPlan

SMALL = dict(
    input_size=12,
    output_size=16,
    attention_heads=2,
    linear_units=24,
    num_blocks=4,
    cnn_module_kernel=5,
    rel_pos_type="latest",
    macaron_style=True,
)
QUIET = dict(dropout_rate=0.0, positional_dropout_rate=0.0)


def build(reuse_groups, **options):
    torch.manual_seed(0)
    return ReuseConformerEncoder(**{**SMALL, **options}, reuse_groups=reuse_groups)


def speech(*lengths, dtype=torch.float32):
    torch.manual_seed(1)
    return torch.randn(len(lengths), max(lengths), 12, dtype=dtype), torch.tensor(lengths)


def naive_group(blocks, x, pos_emb, lengths):
    """The blocks of a group, by loops, from methods: A of the leader, W_V and W_o of each."""
    norm, leader = blocks[0].norm_mha, blocks[0].self_attn
    outs = []
    for u, length in enumerate(lengths):
        h = norm(x[u])
        heads = []
        for n in range(leader.h):
            part = slice(n * leader.d_k, (n + 1) * leader.d_k)
            q, k = leader.linear_q(h)[:, part], leader.linear_k(h)[:, part]
            p = leader.linear_pos(pos_emb[0])[:, part]
            logits = torch.full((len(h), len(h)), -math.inf, dtype=x.dtype)
            for i in range(len(h)):
                for j in range(length):
                    content = torch.dot(q[i] + leader.pos_bias_u[n], k[j])
                    place = torch.dot(q[i] + leader.pos_bias_v[n], p[len(h) - 1 - i + j])
                    logits[i, j] = (content + place) / math.sqrt(leader.d_k)
            heads.append(logits.exp() / logits.exp().sum(1, keepdim=True))
        maps = torch.stack(heads)
        y = x[u]
        for block in blocks:
            attention = block.self_attn
            values = attention.linear_v(block.norm_mha(y))
            mixed = [
                maps[n] @ values[:, n * attention.d_k : (n + 1) * attention.d_k]
                for n in range(attention.h)
            ]
            y = y + attention.linear_out(torch.cat(mixed, dim=1))
        outs.append(y)
    return torch.stack(outs)


@pytest.mark.parametrize("heads", [1, 4])
def test_a_group_follows_the_formula(heads):
    encoder = build(4, attention_heads=heads, **QUIET).double().eval()
    x, lengths = torch.randn(2, 9, 16, dtype=torch.float64), [9, 6]
    x, pos_emb = RelPositionalEncoding(16, 0.0)(x)
    mask = (torch.arange(9) < torch.tensor(lengths)[:, None]).unsqueeze(1)
    got, maps = x, None
    for block in encoder.encoders:
        attended, maps = block.self_attn(block.norm_mha(got), pos_emb, mask, maps)
        got = got + attended
    expected = naive_group(list(encoder.encoders), x, pos_emb, lengths)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rel_pos_type", ["latest", "legacy"])
@pytest.mark.parametrize("lengths", [(200,), (163, 80), (37, 37)])
def test_the_fast_path_equals_the_plain_path(rel_pos_type, lengths, monkeypatch):
    monkeypatch.setattr("espnet_plugin.encoders.chunked_attention.LOGITS", 800)  # several stretches
    encoder = build([[0], [1, 2, 3]], rel_pos_type=rel_pos_type, input_layer="linear").eval()
    feats, ilens = speech(*lengths)
    plain, plain_lengths, _ = encoder(feats, ilens)
    with torch.no_grad():
        fast, fast_lengths, _ = encoder(feats, ilens)
    assert torch.equal(fast_lengths, plain_lengths)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)


def test_padding_does_not_matter():
    # ESPnet 202412's convolution module sees padded frames; 202611's does not
    conv = conformer_takes("use_sdpa")
    encoder = build(2, use_cnn_module=conv, input_layer="linear").eval()
    feats, ilens = speech(60, 33, 20)
    with torch.no_grad():
        together = encoder(feats, ilens)[0]
        for u, length in enumerate(ilens.tolist()):
            alone = encoder(feats[u : u + 1, :length], ilens[u : u + 1])[0]
            torch.testing.assert_close(together[u, :length], alone[0], rtol=1e-4, atol=1e-5)


def test_followers_have_only_values_and_output():
    encoder = build([[0, 1], [2, 3]])
    assert encoder.groups == [[0, 1], [2, 3]]
    for index, block in enumerate(encoder.encoders):
        names = {name.split(".")[0] for name in block.self_attn.state_dict()}
        if index in (0, 2):
            assert isinstance(block.self_attn, LeaderAttention)
            assert {"linear_q", "linear_k", "linear_pos", "pos_bias_u", "pos_bias_v"} < names
        else:
            assert isinstance(block.self_attn, FollowerAttention)
            assert names == {"linear_v", "linear_out"}


def test_a_plain_checkpoint_loads_strictly_with_groups():
    plain, grouped = ConformerEncoder(**SMALL), build(2)
    before = plain.state_dict()
    grouped.load_state_dict(before)
    after = grouped.state_dict()
    assert set(after) < set(before)
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]), name
    assert "encoders.1.self_attn.linear_q.weight" in before  # the caller's is left as it was


def test_what_a_conformer_never_had_is_still_refused():
    state = ConformerEncoder(**SMALL).state_dict()
    state["encoders.1.self_attn.linear_x.weight"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match="linear_x"):
        build(2).load_state_dict(state)


def test_followers_cannot_become_leaders():
    with pytest.raises(RuntimeError, match="encoders.1.self_attn.*linear_q"):
        build(1).load_state_dict(build(2).state_dict())


def test_init_param_loads_a_plain_model(tmp_path):
    plain, model = torch.nn.Module(), torch.nn.Module()
    plain.encoder, model.encoder = ConformerEncoder(**SMALL), build(4)
    torch.save(plain.state_dict(), tmp_path / "model.pth")
    load_pretrained_model(f"{tmp_path}/model.pth:encoder:encoder", model, False)
    got = model.encoder.encoders[3].self_attn.linear_v.weight
    assert torch.equal(got, plain.encoder.encoders[3].self_attn.linear_v.weight)


@pytest.mark.parametrize(
    "spec",
    [0, -1, [], [[0, 1], [3]], [[0, 1, 2, 3], []], [[1, 0], [2, 3]], [[0, 2], [1, 3]], [[0, 1]]],
    ids=str,
)
def test_bad_groups_are_one_clear_error(spec):
    with pytest.raises(ValueError, match="^reuse_groups") as error:
        build(spec)
    assert "\n" not in str(error.value)


def test_sizes_and_plans(tmp_path):
    assert reuse_groups(3, 7) == [[0, 1, 2], [3, 4, 5], [6]]
    plan = tmp_path / "plan.yaml"
    BlockPlan.from_groups([[0, 1, 2], [3]]).save(plan)
    assert build(str(plan)).groups == [[0, 1, 2], [3]]
    conf = {"reuse_groups": str(plan), "num_blocks": 4}
    resolve_reuse_groups(conf)
    assert conf == {"reuse_groups": [[0, 1, 2], [3]], "num_blocks": 4}
    with pytest.raises(ValueError, match="reuse_groups .*plan.yaml"):
        build(str(plan), num_blocks=5)


def test_groups_come_through_the_command_line(tmp_path):
    from espnet_plugin.task import ASRTask

    (tmp_path / "train.yaml").write_text(
        "encoder: reuse_conformer\n"
        "encoder_conf:\n  num_blocks: 4\n  reuse_groups: [[0, 1], [2, 3]]\n"
    )
    args = ASRTask.get_parser().parse_args(
        ["--config", str(tmp_path / "train.yaml"), "--output_dir", str(tmp_path)]
    )
    assert isinstance(args, argparse.Namespace)
    assert ReuseConformerEncoder(input_size=12, **args.encoder_conf).groups == [[0, 1], [2, 3]]


def test_map_hooks_see_the_leaders_map():
    encoder = build(2).eval()
    feats, ilens = speech(60, 41)
    seen = {}
    for index, block in enumerate(encoder.encoders):
        block.self_attn.map_hook = lambda maps, mask, i=index: seen.update({i: (maps, mask)})
    for mode in (True, False):
        with torch.set_grad_enabled(mode):
            _, olens, _ = encoder(feats, ilens)
        for maps, mask in seen.values():
            assert torch.equal(mask.sum(dim=(1, 2)), olens)
            assert maps.shape[1] == 2
            torch.testing.assert_close(maps.sum(-1), torch.ones_like(maps.sum(-1)))
            assert maps[1, :, :, olens[1] :].abs().max() == 0
        assert torch.equal(seen[0][0], seen[1][0])
        assert not torch.allclose(seen[1][0], seen[2][0])


def test_dropout_on_the_map_is_the_leaders():
    encoder = build(2, attention_dropout_rate=0.5).train()
    seen = []
    for block in encoder.encoders[:2]:
        block.self_attn.map_hook = lambda maps, mask: seen.append(maps)
    encoder(*speech(80))
    before, after = seen
    assert (before > 0).all()
    kept = after > 0
    assert 0.3 < kept.float().mean() < 0.7
    torch.testing.assert_close(after[kept], 2 * before[kept])


def test_a_skipped_leader_still_gives_its_map():
    rates = [0.999999, 0.0, 0.0, 0.0]
    options = dict(QUIET, stochastic_depth_rate=rates, use_cnn_module=False)
    encoder = build([[0, 1, 2, 3]], **options).train()
    feats, ilens = speech(60)
    inputs, seen = [], []
    for block in encoder.encoders[:2]:
        block.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    for block in encoder.encoders:
        block.self_attn.map_hook = lambda maps, mask: seen.append(maps)
    encoder(feats, ilens)[0].sum().backward()
    assert torch.equal(inputs[0], inputs[1])  # the leader left x as it was
    encoder.eval()
    training_map = seen[0]
    seen.clear()
    encoder(feats, ilens)
    torch.testing.assert_close(training_map, seen[0])  # and made the map of evaluation
    assert encoder.encoders[0].self_attn.linear_q.weight.grad.abs().max() > 0


def test_skipped_followers_hand_the_map_on():
    rates = [0.0, 0.999999, 0.999999, 0.0]
    encoder = build(4, stochastic_depth_rate=rates, **QUIET).train()
    seen = {}
    for index, block in enumerate(encoder.encoders):
        block.self_attn.map_hook = lambda maps, mask, i=index: seen.update({i: maps})
    encoder(*speech(60))
    assert set(seen) == {0, 3}
    assert torch.equal(seen[0], seen[3])


def test_gradients_reach_the_leader_through_its_followers():
    encoder = build(4, **QUIET).train()
    leader = encoder.encoders[0].self_attn
    for parameter in [*leader.linear_v.parameters(), *leader.linear_out.parameters()]:
        parameter.data.zero_()  # the leader's own output says nothing
        parameter.requires_grad_(False)
    encoder(*speech(60))[0].square().sum().backward()
    assert leader.linear_q.weight.grad.abs().max() > 0
    for block in encoder.encoders[1:]:
        assert block.self_attn.linear_v.weight.grad.abs().max() > 0


def test_attention_plots_of_espnet_find_the_maps():
    from espnet2.main_funcs.calculate_all_attentions import calculate_all_attentions

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = build(2)

        def forward(self, speech, speech_lengths):
            return self.encoder(speech, speech_lengths)

    model = Model().eval()
    feats, ilens = speech(60, 41)
    with torch.no_grad():
        found = calculate_all_attentions(model, dict(speech=feats, speech_lengths=ilens))
        assert len(found) == 4
        for maps in found.values():
            assert [m.shape for m in maps] == [(2, 14, 14), (2, 9, 9)]
        model(feats, ilens)
    assert all(block.self_attn.attn is None for block in model.encoder.encoders)
