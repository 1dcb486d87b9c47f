"""Attention with and without maps against a computation head by head in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.encoders import full_attention
from espnet_plugin.encoders.full_attention import attend, attention_map


class Added:
    """A bias that is written out."""

    def __init__(self, values):
        self.values = values

    def whole(self):
        return self.values

    def add(self, logits, utterance, heads, first):
        count, _, keys = logits.shape
        added = self.values[utterance, heads, first : first + count, :keys]
        logits += added.transpose(0, 1)


def naive(query, key, value, lengths, bias):
    maps = torch.zeros(*query.shape[:3], query.size(2), dtype=torch.float64)
    for u, length in enumerate(lengths):
        for h in range(query.size(1)):
            logits = query[u, h].double() @ key[u, h].double().T / query.size(-1) ** 0.5
            if bias is not None:
                logits = logits + bias.values[u, h]
            maps[u, h, :, :length] = logits[:, :length].softmax(-1)
    return maps, maps @ value.double()


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    heads=st.integers(1, 6),
    size=st.sampled_from([1, 3, 8]),
    queries=st.sampled_from([1, 7, 256]),
    biased=st.booleans(),
)
def test_all_ways_agree(lengths, heads, size, queries, biased):
    generator = torch.Generator().manual_seed(sum(lengths) + heads)
    time = max(lengths)
    query, key, value = (
        torch.randn(len(lengths), time, heads, size, generator=generator).transpose(1, 2)
        for _ in range(3)
    )
    bias = None
    if biased:
        bias = Added(torch.randn(len(lengths), heads, time, time, generator=generator))
    mask = torch.arange(time) < torch.tensor(lengths)[:, None]
    mask = None if mask.all() else mask
    maps, mixed = naive(query, key, value, lengths, bias)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(full_attention, "QUERIES", queries)
        without_gradients = attend(query, key, value, mask, bias)
    with_gradients = attend(query.requires_grad_(), key, value, mask, bias)
    assert torch.allclose(attention_map(query, key, mask, bias).double(), maps, atol=1e-5)
    for u, length in enumerate(lengths):
        for out in (without_gradients, with_gradients):
            assert torch.allclose(out[u, :, :length].double(), mixed[u, :, :length], atol=1e-5)


def test_dropout_is_of_the_map():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 300, 4)
    value = torch.ones_like(value)
    out = attend(query, key, value, dropout=0.5)
    assert 0.03 < out.std() < 0.2 and abs(out.mean() - 1) < 0.02
