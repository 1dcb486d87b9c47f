"""reuse_conformer against ESPnet's ConformerEncoder and against the formula."""

from __future__ import annotations

import inspect
import itertools

import pytest
import torch
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.compat import TooShortUttError, conformer_takes
from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder

SMALL = dict(
    input_size=12,
    output_size=16,
    attention_heads=2,
    linear_units=24,
    num_blocks=3,
    cnn_module_kernel=5,
    dropout_rate=0.0,
    positional_dropout_rate=0.0,
    rel_pos_type="latest",
    macaron_style=True,
)
POSITIONS = {
    "latest": dict(rel_pos_type="latest"),
    "legacy": dict(rel_pos_type="legacy"),
    "absolute": dict(selfattention_layer_type="selfattn", pos_enc_layer_type="abs_pos"),
}


def pair(reuse_groups=1, dtype=torch.float64, **options):
    """ESPnet's encoder and ours, with the same weights, batch statistics included."""
    torch.manual_seed(0)
    options = {**SMALL, **options}
    theirs = ConformerEncoder(**options)
    for name, tensor in theirs.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 2.0)
        elif tensor.is_floating_point() and tensor.dim() == 1:
            tensor.uniform_(-0.5, 1.5)  # norms and biases that do something
    ours = ReuseConformerEncoder(**options, reuse_groups=reuse_groups)
    ours.load_state_dict(theirs.state_dict())
    return theirs.to(dtype), ours.to(dtype)


def speech(lengths, dtype=torch.float64, size=SMALL["input_size"]):
    torch.manual_seed(1)
    return torch.randn(len(lengths), max(lengths), size, dtype=dtype), torch.tensor(lengths)


def assert_same(theirs, ours, lengths, size=SMALL["input_size"]):
    """Outputs, lengths and gradients in evaluation and training; the fast path in float32."""
    feats, ilens = speech(lengths, size=size)
    for mode in (False, True):
        theirs.train(mode)
        ours.train(mode)
        theirs.zero_grad()
        ours.zero_grad()
        torch.manual_seed(2)
        expected, expected_lengths, _ = theirs(feats, ilens)
        torch.manual_seed(2)
        got, got_lengths, _ = ours(feats, ilens)
        assert torch.equal(got_lengths, expected_lengths)
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
        weights = torch.randn(expected.shape, dtype=expected.dtype)
        (expected * weights).sum().backward()
        (got * weights).sum().backward()
        for (name, a), (_, b) in zip(
            theirs.named_parameters(), ours.named_parameters(), strict=True
        ):
            assert (a.grad is None) == (b.grad is None), name
            if a.grad is not None:
                torch.testing.assert_close(b.grad, a.grad, rtol=1e-8, atol=1e-8, msg=name)
    assert_fast_equals_plain(ours, feats, ilens)


def assert_fast_equals_plain(encoder, feats, ilens):
    encoder.eval()
    plain = encoder.double()(feats.double(), ilens)[0]
    with torch.no_grad():
        fast = encoder.float()(feats.float(), ilens)[0]
    encoder.double()
    torch.testing.assert_close(fast.double(), plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("lengths", [(31, 31), (40, 23)])
def test_groups_of_one_equal_espnet(positions, lengths):
    for macaron, conv, before, concat in itertools.product([True, False], repeat=4):
        theirs, ours = pair(
            macaron_style=macaron,
            use_cnn_module=conv,
            normalize_before=before,
            concat_after=concat,
            num_blocks=2,
            **POSITIONS[positions],
        )
        assert_same(theirs, ours, lengths)


@pytest.mark.parametrize("input_layer", ["conv2d", "conv2d1", "conv2d2", "conv2d6", "conv2d8"])
def test_subsampling_equals_espnet(input_layer):
    theirs, ours = pair(input_layer=input_layer, num_blocks=1, input_size=20)
    assert_same(theirs, ours, (97, 60), size=20)


def test_linear_input_equals_espnet():
    assert_same(*pair(input_layer="linear"), (20, 7))


def test_embedding_input_equals_espnet():
    theirs, ours = pair(input_layer="embed", num_blocks=2)
    ids, ilens = torch.randint(0, 12, (2, 9)), torch.tensor([9, 4])
    for encoder in (theirs, ours):
        encoder.eval()
    torch.testing.assert_close(ours(ids, ilens)[0], theirs(ids, ilens)[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "options",
    [
        dict(zero_triu=True),
        dict(activation_type="relu"),
        dict(positionwise_layer_type="conv1d"),
        dict(positionwise_layer_type="conv1d-linear"),
        dict(qk_norm=True, **POSITIONS["absolute"]),
        dict(POSITIONS["absolute"], pos_enc_layer_type="scaled_abs_pos"),
        dict(stochastic_depth_rate=0.5),
        dict(dropout_rate=0.2, attention_dropout_rate=0.3, positional_dropout_rate=0.1),
        dict(max_pos_emb_len=4),
        dict(attention_heads=1),
    ],
    ids=str,
)
def test_options_equal_espnet(options):
    assert_same(*pair(**options), (33, 20))


@pytest.mark.skipif(not conformer_takes("use_sdpa"), reason="ESPnet 202611 brought it")
def test_convolutional_positions_equal_espnet():
    assert_same(*pair(selfattention_layer_type="selfattn", pos_enc_layer_type="conv"), (33, 20))


def test_too_short_input_is_espnets_error():
    for encoder in pair():
        with pytest.raises(TooShortUttError, match="has 6 frames and is too short"):
            encoder(*speech((6,)))


def test_every_option_of_espnet_is_listed():
    theirs = inspect.signature(ConformerEncoder).parameters
    ours = inspect.signature(ReuseConformerEncoder).parameters
    assert list(ours) == [*theirs, "reuse_groups"]


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_any_shape_equals_espnet(data):
    lengths = data.draw(st.lists(st.integers(11, 60), min_size=1, max_size=3))
    lengths.sort(reverse=True)
    positions = data.draw(st.sampled_from(sorted(POSITIONS)))
    heads = data.draw(st.sampled_from([1, 2, 4]))
    assert_same(*pair(num_blocks=1, attention_heads=heads, **POSITIONS[positions]), lengths)


@pytest.mark.parametrize("positions", POSITIONS)
def test_one_frame_equals_espnet(positions):
    theirs, ours = pair(**POSITIONS[positions])
    feats, ilens = speech((7,))
    expected = theirs.eval()(feats, ilens)[0]
    assert expected.shape[1] == 1
    torch.testing.assert_close(ours.eval()(feats, ilens)[0], expected, rtol=1e-10, atol=1e-10)
    assert_fast_equals_plain(ours, feats, ilens)


def test_intermediate_outputs_equal_espnet():
    class Posterior:
        @staticmethod
        def softmax(x):
            return torch.softmax(3 * x[..., :5], dim=-1)

    theirs, ours = pair(interctc_layer_idx=[1, 2], interctc_use_conditioning=True, num_blocks=3)
    theirs.conditioning_layer = torch.nn.Linear(5, 16).double()
    ours.conditioning_layer = theirs.conditioning_layer
    feats, ilens = speech((40, 25))
    (a, inner_a), _, _ = theirs.eval()(feats, ilens, ctc=Posterior)
    (b, inner_b), _, _ = ours.eval()(feats, ilens, ctc=Posterior)
    torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10)
    assert [i for i, _ in inner_a] == [i for i, _ in inner_b] == [1, 2]
    for (_, x), (_, y) in zip(inner_a, inner_b, strict=True):
        torch.testing.assert_close(y, x, rtol=1e-10, atol=1e-10)


def test_hidden_states_equal_espnet():
    theirs, ours = pair()
    feats, ilens = speech((40, 25))
    (_, a), _, _ = theirs.eval()(feats, ilens, return_all_hs=True)
    (_, b), _, _ = ours.eval()(feats, ilens, return_all_hs=True)
    assert len(a) == len(b) == 3
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(y, x, rtol=1e-10, atol=1e-10)


class Blank:
    """A posterior that is sure of blank from frame ``start`` on."""

    def __init__(self, start):
        self.start = start

    def softmax(self, x):
        out = torch.zeros(*x.shape[:2], 3, dtype=x.dtype)
        out[:, : self.start, 1] = 1.0
        out[:, self.start :, 0] = 1.0
        return out


def test_trimming_equals_espnet():
    theirs, ours = pair(interctc_layer_idx=[1], ctc_trim=True, input_layer="linear")
    feats, ilens = speech((30, 22))
    (a, _), lengths_a, _ = theirs.eval()(feats, ilens, ctc=Blank(8))
    (b, _), lengths_b, _ = ours.eval()(feats, ilens, ctc=Blank(8))
    assert a.size(1) < 30
    assert torch.equal(lengths_a, lengths_b)
    torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10)


def test_a_follower_after_trimming_uses_the_rest_of_the_map():
    _, ours = pair(reuse_groups=3, interctc_layer_idx=[1], ctc_trim=True, input_layer="linear")
    seen = []
    for block in ours.encoders:
        block.self_attn.map_hook = lambda maps, mask: seen.append(maps)
    feats, ilens = speech((30, 22))
    with torch.no_grad():
        (out, _), lengths, _ = ours.eval()(feats, ilens, ctc=Blank(8))
    time = out.size(1)
    assert time < 30
    left = seen[0][..., :time, :time]
    torch.testing.assert_close(seen[1], left / left.sum(-1, keepdim=True))
    torch.testing.assert_close(seen[1].sum(-1), torch.ones_like(seen[1].sum(-1)))
