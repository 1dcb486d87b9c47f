"""Hidden states by hooks: the model's own, of every family; maps die with their block."""

from __future__ import annotations

import weakref

import pytest
import torch
from espnet2.asr.encoder.branchformer_encoder import BranchformerEncoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder

from espnet_plugin.encoders.pruned_stack import PrunedStackEncoder
from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder
from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.espnet_parts import Parts
from espnet_plugin.stacks.hooks import attention_maps, hidden_states
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.actions import Drop, ReuseAttention, Share
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, StackDescription

ONE = {"output_size": 16, "attention_heads": 2, "num_blocks": 3}
MLP = {"cgmlp_linear_units": 24, "cgmlp_conv_kernel": 3}
REL = {"rel_pos_type": "latest", "cnn_module_kernel": 3, "linear_units": 24}
ENCODERS = {
    "conformer": (ConformerEncoder, REL),
    "normalised after": (ConformerEncoder, {**REL, "normalize_before": False}),
    "intermediate": (ConformerEncoder, {**REL, "interctc_layer_idx": [1]}),
    "transformer": (TransformerEncoder, {"linear_units": 24}),
    "branchformer": (BranchformerEncoder, {"rel_pos_type": "latest", **MLP}),
    "e_branchformer": (EBranchformerEncoder, {"rel_pos_type": "latest", **MLP}),
    "absolute": (
        EBranchformerEncoder,
        {"pos_enc_layer_type": "abs_pos", "attention_layer_type": "selfattn", **MLP},
    ),
    "reuse_conformer": (ReuseConformerEncoder, {**REL, "reuse_groups": [[0, 1], [2]]}),
}
STACKS = ("wav2vec2", "hubert", "wavlm")
LAYOUT = {
    "conv_layers": ((8, 10, 5), (8, 4, 4), (8, 4, 4)),
    "width": 16,
    "blocks": 4,
    "heads": 2,
    "feed_forward": 24,
    "pos_kernel": 8,
    "pos_groups": 2,
}


def make(kind):
    encoder, options = ENCODERS[kind]
    torch.manual_seed(0)
    return encoder(20, **ONE, **options).eval()


def make_stack(family, **more):
    torch.manual_seed(0)
    if family == "wavlm":
        more = {"num_buckets": 16, "max_distance": 12, **more}
    return Wav2Vec2Stack(Wav2Vec2Config(family=family, **{**LAYOUT, **more})).eval()


def features(lengths):
    x = torch.randn(len(lengths), max(lengths), 20, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor(lengths)
    return x.masked_fill((torch.arange(x.size(1)) >= lengths[:, None])[..., None], 0.0), lengths


def speech(lengths):
    x = torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor(lengths)
    return x.masked_fill(torch.arange(x.size(1)) >= lengths[:, None], 0.0), lengths


def collect(encoder, inputs, run=None):
    found = []
    with hidden_states(encoder, lambda *args: found.append(args)), torch.no_grad():
        output = (run or encoder)(*inputs)
    return found, output


def by_hand(encoder, x, lengths):
    """Block after block, with nothing but the encoder's parts."""
    masks = (torch.arange(x.size(1)) < lengths[:, None]).unsqueeze(1)
    x, masks = encoder.embed(x, masks)
    states = [x[0] if isinstance(x, tuple) else x]
    for block in encoder.encoders:
        x, masks = block(x, masks)
        states.append(x[0] if isinstance(x, tuple) else x)
    if getattr(encoder, "normalize_before", True):
        states[-1] = encoder.after_norm(states[-1])
    return states


@pytest.mark.parametrize("lengths", [[60, 45, 23], [7]], ids=["padded", "one frame"])
@pytest.mark.parametrize("kind", [kind for kind in ENCODERS if kind != "reuse_conformer"])
def test_states_are_those_of_the_blocks(kind, lengths):
    encoder = make(kind)
    found, (output, frames, _) = collect(encoder, features(lengths))
    with torch.no_grad():
        wanted = by_hand(encoder, *features(lengths))
    assert [number for number, _, _ in found] == [0, 1, 2, 3]
    for (_, state, valid), own in zip(found, wanted, strict=True):
        assert valid.tolist() == frames.tolist() and valid.dtype == torch.int64
        for u, count in enumerate(frames.tolist()):
            assert torch.equal(state[u, :count], own[u, :count])
            assert not state[u, count:].any()
    output = output[0] if isinstance(output, tuple) else output
    assert torch.equal(found[-1][1][0], output[0])
    assert not encoder._forward_hooks
    assert not any(b._forward_hooks or b._forward_pre_hooks for b in encoder.encoders)


def test_states_of_reuse_conformer_are_those_of_its_stack():
    encoder = make("reuse_conformer")
    found, _ = collect(encoder, features([60, 45]))
    with torch.no_grad():
        wanted, valid = ConformerStack(Parts(encoder))(*features([60, 45]))
    for (_, state, lengths), own in zip(found, wanted, strict=True):
        assert lengths.tolist() == valid.tolist()
        torch.testing.assert_close(state, own, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("family", STACKS)
def test_states_of_a_stack_edited_or_not(family, norm_first):
    stack = make_stack(family, norm_first=norm_first)
    actions = (Drop(0), ReuseAttention(2, 1), Share(3, 1))
    edited = apply_plan(stack, BlockPlan(StackDescription(family, 4), actions))
    for one in (stack, edited):
        with torch.no_grad():
            wanted, frames = one(*speech([900, 700]))
        found, _ = collect(one, speech([900, 700]), one.output)
        assert [number for number, _, _ in found] == list(range(len(one.blocks) + 1))
        for (_, state, valid), own in zip(found, wanted, strict=True):
            assert torch.equal(state, own) and valid.tolist() == frames.tolist()
        assert one.state_hook is None


def test_states_of_an_encoder_that_runs_a_stack():
    encoder = PrunedStackEncoder(1, stack={"config": LAYOUT}).eval()
    found, (output, frames, _) = collect(encoder, speech([900, 700]))
    assert len(found) == 5 and torch.equal(found[-1][1], output)
    assert found[0][2].tolist() == frames.tolist()


def test_an_exception_leaves_no_hook():
    for encoder, inputs in (
        (make("branchformer"), features([60])),
        (make_stack("hubert"), speech([900])),
    ):
        with pytest.raises(RuntimeError, match="stop"), hidden_states(encoder, _fail):
            encoder(*inputs)
        found, _ = collect(encoder, inputs)
        assert found
    assert encoder.state_hook is None


def _fail(*args):
    raise RuntimeError("stop")


def test_encoders_without_states_of_one_length_are_refused():
    encoder = ConformerEncoder(20, **ONE, **REL, interctc_layer_idx=[1], ctc_trim=True)
    with pytest.raises(TypeError, match="ConformerEncoder with ctc_trim takes frames out"):
        with hidden_states(encoder, print):
            pass
    with pytest.raises(TypeError, match="Linear has no list of blocks"):
        with hidden_states(torch.nn.Linear(1, 1), print):
            pass


@pytest.mark.parametrize("kind", [*ENCODERS, *STACKS])
def test_the_maps_of_a_block_are_gone_when_the_next_one_shows_its(kind):
    stack = kind in STACKS
    encoder, inputs = (
        (make_stack(kind), speech([900, 700])) if stack else (make(kind), features([60, 45]))
    )
    seen, states, shared = [], [], kind == "reuse_conformer"

    def look(block, maps, lengths):
        alive = [n for n, ref in seen if ref() is not None]
        # a follower is shown the map of its leader
        assert alive == ([0] if shared and block == 1 else [])
        seen.append((block, weakref.ref(maps)))

    with attention_maps(encoder, look), torch.no_grad():
        with hidden_states(encoder, lambda *args: states.append(args[0])):
            encoder(*inputs)
    assert len(seen) == (4 if stack else 3) and states == list(range(len(seen) + 1))
    assert not any(ref() is not None for _, ref in seen)
