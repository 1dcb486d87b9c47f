"""The fast convolution module computes ESPnet's, and steps aside where somebody looks in."""

from __future__ import annotations

import pytest
import torch
from espnet2.asr.encoder.conformer_encoder import ConvolutionModule

from espnet_plugin.encoders.convolution import FastConvolution
from espnet_plugin.encoders.onednn import adopt


@pytest.fixture
def modules():
    torch.manual_seed(1)
    plain = ConvolutionModule(12, 7, torch.nn.SiLU()).eval()
    plain.norm.running_mean.normal_()
    plain.norm.running_var.uniform_(0.5, 2.0)
    return plain, adopt(FastConvolution, plain)


@torch.no_grad()
@pytest.mark.parametrize("time", [1, 2, 7, 40])
def test_equals_espnet(modules, time):
    plain, fast = modules
    x = torch.randn(3, time, 12)
    assert fast.untouched()
    torch.testing.assert_close(fast(x), plain(x), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_hooked_layer_is_called(modules):
    _, fast = modules
    x = torch.randn(2, 9, 12)
    before, seen = fast(x), []
    handle = fast.depthwise_conv.register_forward_hook(lambda m, i, out: seen.append(out.shape))
    torch.testing.assert_close(fast(x), before, rtol=1e-5, atol=1e-6)
    assert seen == [(2, 12, 9)]
    handle.remove()
    fast(x)
    assert len(seen) == 1


@torch.no_grad()
def test_an_exchanged_layer_is_called(modules):
    _, fast = modules

    class Twice(torch.nn.Conv1d):
        def forward(self, x):
            return 2 * super().forward(x)

    x = torch.randn(2, 9, 12)
    before = fast(x)
    fast.pointwise_conv2 = adopt(Twice, fast.pointwise_conv2)
    torch.testing.assert_close(fast(x), 2 * before, rtol=1e-5, atol=1e-6)
