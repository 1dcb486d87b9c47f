"""Operations of whole stacks by both counters, against formulas."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Callable

import pytest
import torch

from espnet_plugin.stacks.cost import (
    MacCounter,
    count_macs,
    count_parameters,
    macs_counter,
    macs_per_second,
)
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.actions import Drop, LocalAttention, PruneHeads, ReuseAttention, Share
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, StackDescription

BLOCKS, D, F, HEADS, WINDOW, SAMPLES = 3, 32, 48, 4, 8, 12345
LAYERS = ((16, 10, 5), (24, 8, 4), (24, 4, 2))
KERNEL, GROUPS = 5, 4


def ours(call: Callable[[], Any]) -> int:
    with MacCounter() as counter:
        call()
    return counter.macs


COUNTERS = {"ours": ours, "count_macs": count_macs}


@pytest.fixture(scope="module")
def stack() -> Wav2Vec2Stack:
    return Wav2Vec2Stack(
        Wav2Vec2Config(
            conv_layers=LAYERS,
            width=D,
            blocks=BLOCKS,
            heads=HEADS,
            feed_forward=F,
            pos_kernel=KERNEL,
            pos_groups=GROUPS,
        )  # fmt: skip
    ).eval()


def frames(samples: int) -> list[int]:
    """That leave each convolution."""
    found = []
    for _, kernel, stride in LAYERS:
        samples = (samples - kernel) // stride + 1
        found.append(samples)
    return found


def convolutions(times: list[int]) -> int:
    inputs = [1, *(channels for channels, _, _ in LAYERS)]
    layers = zip(times, inputs, LAYERS, strict=False)
    return sum(time * channels * size * kernel for time, size, (channels, kernel, _) in layers)


TIME = frames(SAMPLES)[-1]
POSITIONS = TIME * D * LAYERS[-1][0] + TIME * D * (D // GROUPS) * KERNEL
PLAIN = convolutions(frames(SAMPLES)) + POSITIONS


def fast() -> int:
    """In inference on the CPU: by stretches of 64 frames, each with all that it sees, and moments
    of the first convolution's windows, from which its group norm follows."""
    channels, kernel, _ = LAYERS[0]
    moments = frames(SAMPLES)[0] * kernel**2 + channels * kernel**2
    total = 0
    for begin in range(0, TIME, 64):
        times = [min(64, TIME - begin)]
        for _, width, stride in reversed(LAYERS[1:]):
            times.insert(0, (times[0] - 1) * stride + width)
        total += convolutions(times)
    return total + moments + POSITIONS


FRONT = {"plain": PLAIN, "fast": fast()}
INNER = 2 * TIME * D * F
DENSE = 4 * TIME * D * D + 2 * TIME * TIME * D + INNER
FOLLOWER = 2 * TIME * D * D + TIME * TIME * D + INNER
LEFT = D // HEADS * 3
PRUNED = 4 * TIME * D * LEFT + 2 * TIME * TIME * LEFT + INNER


def band(rows: int) -> int:
    """With a window: whole stretches of so many queries, with all the keys that they reach."""
    stretches = -(-TIME // rows)
    return 4 * TIME * D * D + 2 * stretches * rows * (rows + 2 * WINDOW) * D + INNER


PLANS = {
    "dense": ((), 3 * DENSE),
    "drop": ((Drop(1),), 2 * DENSE),
    "share": ((Share(1, 0),), 3 * DENSE),
    "reuse": ((ReuseAttention(1, 0), ReuseAttention(2, 0)), DENSE + 2 * FOLLOWER),
    "prune": ((PruneHeads(1, (2,)),), 2 * DENSE + PRUNED),
}


def run(stack: Wav2Vec2Stack, path: str) -> Callable[[], Any]:
    """ "plain": as in training; "fast": as in inference on the CPU."""
    speech = torch.randn(1, SAMPLES)

    def call() -> None:
        with nullcontext() if path == "plain" else torch.no_grad():
            stack.output(speech)

    return call


def edited(stack: Wav2Vec2Stack, *actions: Any) -> Wav2Vec2Stack:
    return apply_plan(stack, BlockPlan(StackDescription("wav2vec2", BLOCKS), actions))


@pytest.mark.parametrize("counter", COUNTERS)
@pytest.mark.parametrize("path", FRONT)
@pytest.mark.parametrize("plan", PLANS)
def test_whole_stacks(stack, plan, path, counter):
    actions, blocks = PLANS[plan]
    found = COUNTERS[counter](run(edited(stack, *actions) if actions else stack, path))
    assert found == FRONT[path] + blocks


@pytest.mark.parametrize("counter", COUNTERS)
@pytest.mark.parametrize("path, rows", [("plain", 32), ("fast", 128)])
def test_local_attention(stack, path, rows, counter):
    """Products count as they are done, the frames outside of the window in them too."""
    local = edited(stack, LocalAttention(0, WINDOW), LocalAttention(2, WINDOW))
    found = COUNTERS[counter](run(local, path))
    assert found == FRONT[path] + DENSE + 2 * band(rows)
    assert band(rows) < DENSE


def test_operations_per_second_of_a_stack(stack):
    found = macs_per_second(stack, torch.randn(1, SAMPLES), 16000)
    assert found == pytest.approx((FRONT["fast"] + 3 * DENSE) * 16000 / SAMPLES)


def test_torchs_counter_counts_where_there_is_one():
    pytest.importorskip("torch.utils.flop_counter", reason="this torch has no flop counter")
    assert macs_counter() == "torch.utils.flop_counter"


def test_a_stack_by_parts(stack):
    parts = count_parameters(stack)
    assert parts["blocks.*.attention"] == BLOCKS * 4 * (D * D + D)
    assert parts["blocks.*.feed_forward"] == BLOCKS * (2 * D * F + D + F)
    assert parts["frontend.projection"] == 24 * D + D
    shared = count_parameters(edited(stack, Share(1, 0)))
    assert shared["blocks.*.attention"] == 2 * 4 * (D * D + D)
    assert sum(parts.values()) == sum(p.numel() for p in stack.parameters())
