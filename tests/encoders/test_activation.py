"""GELU's gradient in every memory layout."""

from __future__ import annotations

import itertools

import pytest
import torch

from espnet_plugin.encoders.activation import gelu


@pytest.mark.parametrize("before, after", [*itertools.product([False, True], repeat=2)])
def test_value_and_gradient(before, after):
    x = torch.randn(2, 24, 37, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(2, 24, 37, generator=torch.Generator().manual_seed(1))
    if after != before:
        weight = weight.transpose(1, 2).contiguous()

    def run(function, x):
        x = x.clone().requires_grad_()
        y = function(x.transpose(1, 2) if before else x)
        y = (y.transpose(1, 2) if after else y).contiguous()
        (y * weight.to(y.dtype)).sum().backward()
        return y, x.grad

    value, gradient = run(gelu, x)
    wanted, slope = run(lambda x: x * torch.special.ndtr(x), x.double())
    assert torch.allclose(value.double(), wanted, atol=1e-6)
    assert torch.allclose(gradient.double(), slope, atol=1e-5)
