from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import ENCODER_CONF, write_experiment
from torch import nn

from espnet_plugin.stacks.cost import MacCounter, count_parameters, macs_per_second
from espnet_plugin.stacks.experiment import load_experiment

CASES = {
    "linear": (lambda: nn.Linear(20, 7)(torch.randn(2, 3, 10, 20)), 2 * 3 * 10 * 20 * 7),
    "conv1d": (
        lambda: nn.Conv1d(6, 8, 3, groups=2)(torch.randn(2, 6, 30)),
        2 * 8 * 28 * (6 // 2) * 3,
    ),
    "conv2d": (
        lambda: nn.Conv2d(1, 4, 3, stride=2)(torch.randn(2, 1, 31, 21)),
        2 * 4 * 15 * 10 * 9,
    ),
    "transposed": (
        lambda: nn.ConvTranspose1d(6, 8, 3, stride=2, groups=2)(torch.randn(2, 6, 30)),
        2 * 6 * 30 * (8 // 2) * 3,
    ),
    "matmul": (
        lambda: torch.randn(2, 4, 5, 6) @ torch.randn(2, 4, 6, 7),
        2 * 4 * 5 * 6 * 7,
    ),
    "relu": (lambda: torch.relu(torch.randn(5, 5)), 0),
}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("case", CASES)
def test_closed_forms(case: str, mode) -> None:
    call, expected = CASES[case]
    with MacCounter() as counter, mode():
        call()
    assert counter.macs == expected


def test_fused_attention() -> None:
    attention = getattr(nn.functional, "scaled_dot_product_attention", None)
    if attention is None:
        pytest.skip("this torch has no scaled_dot_product_attention")
    query, key = torch.randn(2, 3, 8, 4), torch.randn(2, 3, 9, 4)
    with MacCounter() as counter, torch.no_grad():
        attention(query, key, key)
    assert counter.macs == 2 * 3 * 8 * 9 * (4 + 4)


def test_agrees_with_torchs_counter(tmp_path: Path) -> None:
    flop_counter = pytest.importorskip(
        "torch.utils.flop_counter", reason="this torch has no flop counter"
    )
    model = load_experiment(write_experiment(tmp_path / "asr")).model
    speech, lengths = torch.randn(1, 32000), torch.tensor([32000])
    with torch.no_grad(), MacCounter() as ours:
        model.encode(speech, lengths)
    with torch.no_grad(), flop_counter.FlopCounterMode(display=False) as theirs:
        model.encode(speech, lengths)
    assert ours.macs == theirs.get_total_flops() / 2 > 0


def test_conformer_by_hand(tmp_path: Path) -> None:
    """Parameters by part against the formula of every layer; operations grow with length."""
    model = load_experiment(write_experiment(tmp_path / "asr")).model
    parts = count_parameters(model)
    assert sum(parts.values()) == sum(p.numel() for p in model.parameters())
    d, ff, blocks = 16, ENCODER_CONF["linear_units"], ENCODER_CONF["num_blocks"]
    feed_forward = d * ff + ff + ff * d + d
    assert parts["encoder.encoders.*.feed_forward"] == blocks * feed_forward
    assert parts["encoder.encoders.*.feed_forward_macaron"] == blocks * feed_forward
    assert parts["encoder.encoders.*.self_attn"] == blocks * (4 * (d * d + d) + d * d + 2 * d)
    assert parts["ctc"] == len(model.token_list) * (d + 1)
    short = macs_per_second(model, torch.randn(1, 16000), 16000)
    long = macs_per_second(model, torch.randn(1, 160000), 16000)
    assert 0 < short < long


def test_shared_parameters_count_once() -> None:
    model = nn.Module()
    model.one = nn.Linear(3, 4)
    model.two = model.one
    assert count_parameters(model) == {"one": 16}
