"""ESPnet's encoders as stacks: the same output, the same parameters, the same maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from espnet2.asr.encoder.branchformer_encoder import BranchformerEncoder
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.compat import TooShortUttError
from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder
from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.espnet_parts import Parts
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.stack import Stack, StackError
from espnet_plugin.stacks.untrained import create_untrained

SMALL = {"output_size": 16, "attention_heads": 2, "linear_units": 24, "num_blocks": 3}
REL = {"rel_pos_type": "latest", "cnn_module_kernel": 3}
ABSOLUTE = {
    "pos_enc_layer_type": "abs_pos",
    "selfattention_layer_type": "selfattn",
    "cnn_module_kernel": 3,
}
KINDS = {
    "relative": (ConformerEncoder, REL),
    "legacy": (ConformerEncoder, {"rel_pos_type": "legacy", "cnn_module_kernel": 3}),
    "absolute": (ConformerEncoder, ABSOLUTE),
    "plain blocks": (
        ConformerEncoder,
        {**REL, "macaron_style": True, "use_cnn_module": False, "concat_after": True},
    ),
    "normalised after": (ConformerEncoder, {**REL, "normalize_before": False}),
    "conv2d6": (ConformerEncoder, {**REL, "input_layer": "conv2d6"}),
    "linear": (ConformerEncoder, {**REL, "input_layer": "linear"}),
    "intermediate": (ConformerEncoder, {**REL, "interctc_layer_idx": [1]}),
    "transformer": (TransformerEncoder, {}),
    "transformer, normalised after": (
        TransformerEncoder,
        {"normalize_before": False, "concat_after": True, "input_layer": "linear"},
    ),
    "transformer, as it comes": (TransformerEncoder, {"input_layer": None}),
    "reuse": (ReuseConformerEncoder, {**REL, "reuse_groups": [[0, 1], [2]]}),
}


def make(kind, **more):
    encoder, options = KINDS[kind]
    torch.manual_seed(0)
    encoder = encoder(20, **{**SMALL, **options, **more})
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        for name, buffer in encoder.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return encoder.eval()


def batch(lengths):
    x = torch.randn(len(lengths), max(lengths), 20, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor(lengths)
    return x.masked_fill((torch.arange(x.size(1)) >= lengths[:, None])[..., None], 0.0), lengths


def outputs(encoder, x, lengths):
    """The output of each block (caught on its way), the encoder's, and its lengths."""
    caught = []

    def keep(block, inputs, output):
        out = output[0]
        caught.append(out[0] if isinstance(out, tuple) else out)

    handles = [block.register_forward_hook(keep) for block in encoder.encoders]
    with torch.no_grad():
        out, olens, _ = encoder(x, lengths)
    for handle in handles:
        handle.remove()
    out = out[0] if isinstance(out, tuple) else out
    return [*caught[:-1], out], olens


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(12, 90), min_size=1, max_size=3))
def test_hidden_states_are_the_encoders(kind, lengths):
    encoder = make(kind)
    stack = ConformerStack(Parts(encoder))
    x, lengths = batch(lengths)
    wanted, olens = outputs(encoder, x, lengths)
    with torch.no_grad():
        hidden, valid = stack(x, lengths)
        last, _ = stack.output(x, lengths)
    assert valid.dtype == torch.int64 and valid.tolist() == olens.tolist()
    assert len(hidden) == 4 and torch.equal(last, hidden[-1])
    for ours, theirs in zip(hidden[1:], wanted, strict=True):
        for u, n in enumerate(olens.tolist()):
            assert torch.allclose(ours[u, :n], theirs[u, :n], atol=1e-5)
            assert not ours[u, n:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_the_encoders(kind):
    encoder = make(kind)
    stack = ConformerStack(Parts(encoder))
    x, lengths = batch([70, 45])
    theirs, ours = [], []
    with torch.no_grad():
        with attention_maps(encoder, lambda *args: theirs.append(args)):
            encoder(x, lengths)
        with attention_maps(stack, lambda *args: ours.append(args)):
            hidden, _ = stack(x, lengths)
        again, _ = stack(x, lengths)
    assert [place for place, _, _ in ours] == [0, 1, 2]
    for (_, maps, valid), (_, wanted, frames) in zip(ours, theirs, strict=True):
        assert valid.tolist() == frames.tolist()
        assert torch.allclose(maps, wanted, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(hidden, again, strict=True))
    assert len(ours) == 3


@pytest.mark.parametrize("kind", ["relative", "transformer", "reuse"])
def test_parameters_are_shared_and_the_encoder_stays_as_it_is(kind):
    encoder = make(kind)
    modules = dict(encoder.named_modules())
    classes = {name: type(module) for name, module in modules.items()}
    stack = ConformerStack(Parts(encoder))
    assert {id(p) for p in stack.parameters()} == {id(p) for p in encoder.parameters()}
    assert {id(b) for b in stack.buffers()} == {id(b) for b in encoder.buffers()}
    now = dict(encoder.named_modules())
    assert now.keys() == modules.keys() and all(now[name] is modules[name] for name in now)
    assert {name: type(module) for name, module in now.items()} == classes
    stack.blocks[1].attention = stack.blocks[1].attention.prune([0])
    assert encoder.encoders[1].self_attn.linear_v.weight.shape == (16, 16)
    assert stack.blocks[1].attention.linear_v.weight.shape == (8, 16)


@pytest.mark.parametrize("kind", ["relative", "transformer"])
def test_training_gives_the_encoders_gradients(kind):
    encoder = make(kind, dropout_rate=0.0, positional_dropout_rate=0.0).train()
    stack = ConformerStack(Parts(encoder)).train()
    x, lengths = batch([60, 60])
    gradients = []
    for module in (stack, encoder):
        encoder.zero_grad()
        (stack.output(x, lengths) if module is stack else encoder(x, lengths))[0].pow(
            3
        ).mean().backward()
        gradients.append(
            {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys() and gradients[0]
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5), name


def test_groups_of_a_reuse_conformer_are_a_plan():
    stack = ConformerStack(Parts(make("reuse")))
    assert stack.family == "conformer"
    assert [block.attention.follows for block in stack.blocks] == [False, True, False]
    assert len(stack.plans) == 1 and stack.plans[0].reuse_groups() == [[0, 1], [2]]
    assert not ConformerStack(Parts(make("relative"))).plans


@pytest.mark.parametrize("kind", ["relative", "legacy", "absolute", "transformer", "reuse"])
@pytest.mark.parametrize("heads", [[1], [0, 1]])
def test_pruned_heads_are_maps_of_zero(kind, heads):
    encoder = make(kind)
    x, lengths = batch([70, 45])
    stack = ConformerStack(Parts(encoder))
    for block in stack.blocks:
        block.attention = block.attention.prune(heads)
        assert block.attention.heads == 2 - len(heads) and block.attention.head_size == 8
    zeroed = ConformerStack(Parts(make(kind)))
    with torch.no_grad():
        for block in zeroed.blocks:
            for head in heads:  # a map of zero mixes nothing: what the head would add is zero
                out = block.attention.linear_out
                out.weight[:, 8 * head : 8 * head + 8] = 0
        for ours, theirs in zip(stack(x, lengths)[0], zeroed(x, lengths)[0], strict=True):
            assert torch.allclose(ours, theirs, atol=1e-5)
    with pytest.raises(ValueError, match=r"head 2 is not there \(heads 0 to 1\)"):
        encoder_attention = ConformerStack(Parts(encoder)).blocks[0].attention
        encoder_attention.prune([2])


def test_a_follower_takes_its_leaders_map():
    """Turned into followers, the blocks compute what reuse_conformer computes."""
    encoder = make("relative")
    stack = ConformerStack(Parts(encoder))
    stack.blocks[1].attention = stack.blocks[1].attention.follower()
    torch.manual_seed(0)
    reuse = ReuseConformerEncoder(20, **SMALL, **REL, reuse_groups=[[0, 1], [2]]).eval()
    reuse.load_state_dict(encoder.state_dict())
    x, lengths = batch([70, 45])
    wanted, olens = outputs(reuse, x, lengths)
    with torch.no_grad():
        hidden, _ = stack(x, lengths)
    for ours, theirs in zip(hidden[1:], wanted, strict=True):
        for u, n in enumerate(olens.tolist()):
            assert torch.allclose(ours[u, :n], theirs[u, :n], atol=1e-5)


def test_other_encoders_are_refused():
    with pytest.raises(ValueError, match="BranchformerEncoder is no Conformer and no Transformer"):
        ConformerStack(Parts(BranchformerEncoder(20, 16, attention_heads=2, num_blocks=1)))
    fed_back = make("intermediate", interctc_use_conditioning=True)
    with pytest.raises(ValueError, match="interctc_use_conditioning is more than a stack"):
        ConformerStack(Parts(fed_back))
    with pytest.raises(TooShortUttError):
        ConformerStack(Parts(make("relative")))(*batch([5]))


TOKENS = ["<blank>", "<unk>", "a", "b", "<sos/eos>"]


def experiment(tmp_path, encoder, **conf):
    config = {
        "encoder": encoder,
        "encoder_conf": {**SMALL, **conf},
        "frontend_conf": {"fs": "16k", "hop_length": 160, "n_mels": 20},
        "model_conf": {"ctc_weight": 1.0},
    }
    return load_experiment(create_untrained(tmp_path / "exp", config, TOKENS, seed=3))


@pytest.mark.parametrize(
    "encoder, conf",
    [("conformer", REL), ("transformer", {}), ("reuse_conformer", {**REL, "reuse_groups": 2})],
)
def test_an_experiment_takes_waveforms_and_is_saved_whole(tmp_path, encoder, conf):
    loaded = experiment(tmp_path, encoder, **conf)
    stack = ConformerStack.from_experiment(loaded)
    assert stack.takes == "waveform" and stack.frame_shift == pytest.approx(0.04)
    speech = torch.randn(2, 9000, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([9000, 7000])
    speech[1, 7000:] = 0
    stack.save(tmp_path / "stack.pt")
    read = Stack.load(tmp_path / "stack.pt")
    assert read.family == stack.family and read.plans == stack.plans
    assert read.state_dict().keys() == stack.state_dict().keys()
    assert all(torch.equal(v, stack.state_dict()[k]) for k, v in read.state_dict().items())
    with torch.no_grad():
        wanted, olens = loaded.model.encode(speech, lengths)
        for one in (stack, read):
            hidden, valid = one(speech, lengths)
            assert valid.tolist() == olens.tolist()
            for u, n in enumerate(olens.tolist()):
                assert torch.allclose(hidden[-1][u, :n], wanted[u, :n], atol=1e-5)


def test_global_statistics_travel_with_the_stack(tmp_path):
    stats = tmp_path / "stats.npz"
    np.savez(stats, count=10, sum=np.arange(20) * 1.0, sum_square=np.arange(20) ** 2.0 + 5)
    config = {
        "encoder": "conformer",
        "encoder_conf": {**SMALL, **REL},
        "frontend_conf": {"n_mels": 20},
        "normalize": "global_mvn",
        "normalize_conf": {"stats_file": str(stats)},
        "model_conf": {"ctc_weight": 1.0},
    }
    loaded = load_experiment(create_untrained(tmp_path / "exp", config, TOKENS))
    stack = ConformerStack.from_experiment(loaded)
    stack.save(tmp_path / "stack.pt")
    stats.unlink()
    read = Stack.load(tmp_path / "stack.pt")
    speech = torch.randn(1, 8000)
    with torch.no_grad():
        assert torch.allclose(read.output(speech)[0], stack.output(speech)[0], atol=1e-6)
        assert torch.equal(read.normalize.mean, loaded.model.normalize.mean)


def test_a_stack_without_configuration_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="without its configuration"):
        ConformerStack(Parts(make("relative"))).save(tmp_path / "stack.pt")
    (tmp_path / "text.pt").write_text("no stack")
    with pytest.raises(StackError, match=r"text\.pt: "):
        Stack.load(tmp_path / "text.pt")
