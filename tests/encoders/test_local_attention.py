"""Banded attention against the definition written out in float64."""

from __future__ import annotations

import math
from typing import List, NamedTuple, Optional

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from espnet_plugin.encoders.local_attention import LEAST_BLOCK, local_attention, local_maps


class Case(NamedTuple):
    batch: int
    heads: int
    time: int
    size: int
    window: int
    lengths: Optional[List[int]]
    bias: Optional[str]


@st.composite
def cases(draw, longest=150):
    batch = draw(st.integers(1, 3))
    time = draw(st.integers(1, longest))
    lengths = st.lists(st.integers(1, time), min_size=batch, max_size=batch)
    return Case(
        batch,
        draw(st.integers(1, 3)),
        time,
        draw(st.integers(1, 5)),
        draw(st.one_of(st.integers(0, 12), st.integers(0, 2 * longest))),
        draw(st.none() | lengths),
        draw(st.sampled_from([None, "full", "relative", "gated"])),
    )


def inputs(case: Case, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    shape = (case.batch, case.heads, case.time, case.size)
    band = 2 * case.window + 1
    biases = {
        None: lambda: None,
        "full": lambda: normal(case.batch, case.heads, case.time, band),
        "relative": lambda: normal(1, case.heads, 1, band),
        "gated": lambda: (
            normal(case.batch, case.heads, case.time, 1) * normal(1, case.heads, 1, band)
        ),
    }
    lengths = None if case.lengths is None else torch.tensor(case.lengths)
    return normal(*shape), normal(*shape), normal(*shape), biases[case.bias](), lengths


def naive_maps(query, key, window, bias, lengths) -> Tensor:
    """Every logit, one by one where the bias comes in, and a softmax over the window."""
    batch, heads, time, _ = query.shape
    logits = torch.einsum("bhqd,bhkd->bhqk", query, key)
    seen = torch.zeros(batch, 1, time, time, dtype=torch.bool)
    for q in range(time):
        for k in range(max(0, q - window), min(time, q + window + 1)):
            if bias is not None:
                row = bias.expand(batch, heads, time, -1)[:, :, q, k - q + window]
                logits[:, :, q, k] = logits[:, :, q, k] + row
            seen[:, 0, q, k] = True if lengths is None else k < lengths
    weights = torch.where(seen, (logits - logits.amax().detach()).exp(), torch.zeros(()).double())
    return weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)


@settings(max_examples=60, deadline=None)
@given(cases(longest=110))
def test_it_is_the_softmax_over_the_window(case):
    query, key, value, bias, lengths = inputs(case)
    maps = naive_maps(query, key, case.window, bias, lengths)
    got = local_maps(query, key, case.window, bias, lengths)
    torch.testing.assert_close(got.dense(), maps, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(got.mix(value), maps @ value, rtol=1e-11, atol=1e-13)
    mixed = local_attention(query, key, value, case.window, bias, lengths)
    assert torch.equal(mixed, got.mix(value))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_map_is_zero_outside_of_the_window_and_of_the_utterance(case):
    query, key, _, bias, lengths = inputs(case, torch.float32)
    maps = local_maps(query, key, case.window, bias, lengths).dense()
    assert maps.shape == (case.batch, case.heads, case.time, case.time)
    frame = torch.arange(case.time)
    outside = (frame - frame[:, None]).abs() > case.window
    assert not maps[..., outside].any()
    for utterance, length in enumerate(case.lengths or []):
        assert not maps[utterance, :, :, length:].any()
        alive = (frame - case.window < length).float().expand(case.heads, -1)
        torch.testing.assert_close(maps[utterance].sum(-1), alive)
    if lengths is None:
        torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))


@settings(max_examples=60, deadline=None)
@given(cases(longest=120), st.integers(0, 300))
def test_a_window_as_wide_as_the_utterance_is_full_attention(case, more):
    case = case._replace(window=case.time - 1 + more)
    query, key, value, bias, lengths = inputs(case, torch.float32)
    logits = query @ key.transpose(-2, -1)
    if bias is not None:
        frame = torch.arange(case.time)
        place = (frame - frame[:, None] + case.window).expand(*logits.shape)
        logits = logits + bias.expand(*logits.shape[:3], -1).gather(-1, place)
    if lengths is not None:
        padded = torch.arange(case.time) >= lengths[:, None, None, None]
        logits = logits.masked_fill(padded, -math.inf)
    full = logits.softmax(-1) @ value
    mixed = local_attention(query, key, value, case.window, bias, lengths)
    assert (mixed - full).norm() <= 1e-6 * full.norm()


@settings(max_examples=25, deadline=None)
@given(cases(longest=110))
def test_gradients_are_those_of_the_definition(case):
    query, key, value, bias, lengths = inputs(case)
    given_tensors = [query, key, value] + ([] if bias is None else [bias])
    for tensor in given_tensors:
        tensor.requires_grad_()
    weights = torch.randn(query.shape, generator=torch.Generator().manual_seed(1)).double()
    expected = naive_maps(query, key, case.window, bias, lengths) @ value
    wanted = torch.autograd.grad((expected * weights).sum(), given_tensors)
    got = local_attention(query, key, value, case.window, bias, lengths)
    gradients = torch.autograd.grad((got * weights).sum(), given_tensors)
    for gradient, expected_gradient in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(cases(longest=300))
def test_inference_by_stretches_is_the_same(case):
    query, key, value, bias, lengths = inputs(case, torch.float32)
    plain = local_maps(query, key, case.window, bias, lengths).mix(value)
    with torch.no_grad():
        fast = local_attention(query, key, value, case.window, bias, lengths)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)
    double = local_attention(*(x.double() for x in (query, key, value)), case.window, bias, lengths)
    torch.testing.assert_close(fast.double(), double, rtol=1e-4, atol=1e-5)


def test_gradients_of_the_written_map_reach_queries_and_keys():
    query, key, _, _, lengths = inputs(Case(1, 1, 3 * LEAST_BLOCK + 5, 2, 3, [70], None))
    query.requires_grad_()
    weights = torch.randn(1, 1, query.size(2), query.size(2)).double()
    (expected,) = torch.autograd.grad(
        (naive_maps(query, key, 3, None, lengths) * weights).sum(), [query]
    )
    (got,) = torch.autograd.grad(
        (local_maps(query, key, 3, None, lengths).dense() * weights).sum(), [query]
    )
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("time", [1, LEAST_BLOCK, 5 * LEAST_BLOCK])
def test_dropout_zeroes_some_weights_and_scales_the_others(time):
    query, key, value, _, _ = inputs(Case(2, 3, time, 4, 5, None, None), torch.float32)
    torch.manual_seed(0)
    maps = local_maps(query, key, 5)
    dropped = maps.dropout(0.4)
    kept = dropped.weights != 0
    torch.testing.assert_close(dropped.weights[kept], (maps.weights / 0.6)[kept])
    assert 0.3 < (~kept[maps.weights != 0]).float().mean() < 0.5 or time == 1
    assert maps.dropout(0.0) is maps
    torch.manual_seed(0)
    mixed = local_attention(query, key, value, 5, dropout=0.4)
    torch.testing.assert_close(mixed, dropped.dense() @ value)


def test_padding_cannot_be_felt():
    query, key, value, bias, lengths = inputs(Case(2, 2, 130, 3, 9, [130, 71], "full"))
    mixed = local_attention(query, key, value, 9, bias, lengths)
    alone = local_attention(*(x[1:, :, :71] for x in (query, key, value)), 9, bias[1:, :, :71])
    torch.testing.assert_close(mixed[1:, :, :71], alone, rtol=1e-12, atol=1e-12)
    key[1, :, 71:], value[1, :, 71:] = 1e30, 1e30
    again = local_attention(query, key, value, 9, bias, lengths)
    torch.testing.assert_close(again, mixed, rtol=0, atol=0)
    assert not mixed[1, :, 71 + 9 :].any()


def test_time_and_memory_grow_with_the_length_and_the_window_not_with_its_square():
    """The weights that are held, and what autograd keeps of a forward pass, in numbers."""

    def held(time: int, window: int) -> int:
        query, key, value = (torch.randn(1, 1, time, 4, requires_grad=True) for _ in range(3))
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: kept.append(x.numel()) or x, lambda x: x
        ):
            local_attention(query, key, value, window)
        return sum(kept)

    assert held(8000, 40) <= 2.1 * held(4000, 40)
    assert held(8000, 80) <= 2.1 * held(8000, 40)
    query = torch.randn(1, 1, 9000, 2)
    assert local_maps(query, query, 64).weights.numel() <= 9000 * 3.1 * 64


def test_everything_stays_on_the_device_of_the_inputs():
    """On "meta" as on a GPU: a tensor made on the CPU would be refused."""
    for time in (10, 200):
        query = torch.randn(2, 3, time, 4, device="meta")
        lengths = torch.tensor([time, 3], device="meta")
        bias = torch.randn(1, 3, time, 15, device="meta")
        maps = local_maps(query, query, 7, bias, lengths).dropout(0.1)
        assert maps.mix(query).device.type == maps.dense().device.type == "meta"
        assert maps.dense().shape == (2, 3, time, time)
