"""The convolutions before the blocks: exact by stretches, and called where somebody looks in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from espnet_plugin.encoders.faster import faster
from espnet_plugin.encoders.onednn import adopt
from espnet_plugin.encoders.subsampling import CHUNK, ChunkedConvolutions


def stack(**options) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, **options), nn.ReLU(), nn.Conv2d(4, 4, 3, 2), nn.ReLU()
    )


@torch.no_grad()
@pytest.mark.parametrize("frames", [7, 4 * CHUNK + 2, 4 * CHUNK + 3, 9 * CHUNK + 1])
def test_stretches_are_exact(frames):
    plain = stack()
    x = torch.randn(2, 1, frames, 20)
    before = x.clone()
    result = adopt(ChunkedConvolutions, plain)(x)
    torch.testing.assert_close(result, plain(x), rtol=1e-5, atol=1e-6)
    assert torch.equal(x, before)


@torch.no_grad()
def test_a_hooked_layer_is_called():
    fast, seen = adopt(ChunkedConvolutions, stack()), []
    handle = fast[0].register_forward_hook(lambda m, i, out: seen.append(out.shape))
    fast(torch.randn(1, 1, 400, 20))
    assert seen == [(1, 4, 199, 9)]
    handle.remove()
    assert fast.untouched()


@torch.no_grad()
@pytest.mark.parametrize(
    "layers, exchanged",
    [
        (stack(), True),
        (stack(padding=1), False),
        (stack(dilation=2), False),
        (nn.Sequential(nn.ReLU(), nn.Conv2d(1, 4, 3)), False),
    ],
)
def test_only_what_the_fast_path_computes_is_exchanged(layers, exchanged):
    whole = nn.ModuleDict({"conv": layers})
    x = torch.randn(1, 1, 40, 20)
    before, untouched = layers(x), x.clone()
    faster(whole)
    assert (type(whole["conv"]) is ChunkedConvolutions) == exchanged
    torch.testing.assert_close(whole["conv"](x), before, rtol=1e-5, atol=1e-6)
    assert torch.equal(x, untouched)
