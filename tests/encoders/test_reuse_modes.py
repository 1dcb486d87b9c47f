"""Autocast, checkpointing, tracing, scripting, compiling: as far as ESPnet's own encoder goes."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from torch.utils.checkpoint import checkpoint

from espnet_plugin.compat import conformer_takes
from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder

SMALL = dict(
    input_size=12,
    output_size=16,
    attention_heads=2,
    linear_units=24,
    num_blocks=2,
    cnn_module_kernel=5,
    rel_pos_type="latest",
    macaron_style=True,
)


def pair(reuse_groups=1, **options):
    torch.manual_seed(0)
    theirs = ConformerEncoder(**SMALL, **options).eval()
    ours = ReuseConformerEncoder(**SMALL, **options, reuse_groups=reuse_groups).eval()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def speech(*lengths):
    torch.manual_seed(1)
    return torch.randn(len(lengths), max(lengths), 12), torch.tensor(lengths)


needs_cpu_autocast = pytest.mark.skipif(
    torch.__version__.startswith("1."),
    reason="ESPnet's own encoder does not run under torch 1's autocast on a CPU",
)


@needs_cpu_autocast
@pytest.mark.parametrize("grad", [True, False])
def test_autocast_equals_espnet(grad):
    theirs, ours = pair()
    feats, ilens = speech(60, 41)
    with torch.set_grad_enabled(grad), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = theirs(feats, ilens)[0].float()
        got = ours(feats, ilens)[0].float()
    torch.testing.assert_close(got, expected, rtol=0.1, atol=0.1)
    exact = theirs(feats, ilens)[0]
    ratio = (got - exact).square().mean() / (expected - exact).square().mean()
    assert 0.25 < ratio < 4  # as far from float32 as ESPnet's, no further


@needs_cpu_autocast
def test_autocast_shares_the_map_in_low_precision():
    _, ours = pair(reuse_groups=2)
    seen = []
    ours.encoders[1].self_attn.map_hook = lambda maps, mask: seen.append(maps.dtype)
    feats, ilens = speech(60)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours(feats, ilens)[0].float().sum().backward()
    assert seen == [torch.bfloat16]
    assert ours.encoders[0].self_attn.linear_q.weight.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_run_without_gradients(dtype):
    _, ours = pair(reuse_groups=2)
    feats, ilens = speech(60, 41)
    plain = ours(feats, ilens)[0]
    with torch.no_grad():
        got = copy.deepcopy(ours).to(dtype)(feats.to(dtype), ilens)[0]
    assert got.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float64 else 0.2
    torch.testing.assert_close(got.to(plain.dtype), plain, rtol=tolerance, atol=tolerance)


def test_checkpointed_blocks_give_the_same_gradients():
    _, ours = pair(reuse_groups=2)
    feats, ilens = speech(60)
    ours(feats, ilens)[0].square().sum().backward()
    expected = {n: p.grad.clone() for n, p in ours.named_parameters()}
    ours.zero_grad()
    for block in ours.encoders:
        forward = block.forward
        block.forward = lambda *args, f=forward: checkpoint(f, *args, use_reentrant=False)
    ours(feats, ilens)[0].square().sum().backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name)


class Output(torch.nn.Module):
    """An encoder's output and lengths: a trace returns nothing but tensors."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, feats, ilens):
        return self.encoder(feats, ilens)[:2]


@pytest.mark.parametrize("groups", [1, 2])
def test_a_trace_serves_other_lengths_and_padding(groups):
    theirs, ours = pair(groups)
    feats, ilens = speech(60, 60)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Output(ours), (feats, ilens), check_trace=False)
        reference = torch.jit.trace(Output(theirs), (feats, ilens), check_trace=False)
        other = speech(83, 50)
        expected = (theirs if groups == 1 else ours)(*other)[0]
        torch.testing.assert_close(reference(*other)[0], theirs(*other)[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(traced(*other)[0], expected, rtol=1e-4, atol=1e-5)


def test_scripting_goes_no_further_than_espnets():
    for encoder in pair():
        with pytest.raises(Exception, match="(?s)."):
            torch.jit.script(encoder)


@pytest.mark.skipif(not conformer_takes("use_sdpa"), reason="torch.compile comes with torch 2")
@pytest.mark.parametrize("grad", [True, False])
def test_compiled_equals_eager(grad):
    _, ours = pair(reuse_groups=2)
    feats, ilens = speech(60, 41)
    with torch.set_grad_enabled(grad):
        expected = ours(feats, ilens)[0]
        compiled = torch.compile(ours, backend="aot_eager")
        torch.testing.assert_close(compiled(feats, ilens)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not conformer_takes("use_sdpa"), reason="ESPnet 202412 has no use_sdpa")
@pytest.mark.parametrize("kind", ["rel_selfattn", "selfattn"])
def test_sdpa_equals_espnet(kind):
    options = dict(use_sdpa=True, selfattention_layer_type=kind)
    if kind == "selfattn":
        options["pos_enc_layer_type"] = "abs_pos"
    theirs, ours = pair(**options)
    feats, ilens = speech(60, 41)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            expected, got = theirs(feats, ilens)[0], ours(feats, ilens)[0]
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
