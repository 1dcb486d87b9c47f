"""Accumulators: means over utterances, and the same bits in any split."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis.attention import MEASURES, measure
from espnet_plugin.analysis.maps.accumulate import AttentionMeasures, MapSimilarity
from espnet_plugin.analysis.maps.map_similarity import pairwise_similarity


def batches(count, blocks, seed):
    generator = torch.Generator().manual_seed(seed)
    made = []
    for n in range(count):
        frames = 3 + n % 5
        maps = [
            torch.randn(2, 3, frames, frames, generator=generator).softmax(-1)
            for _ in range(blocks)
        ]
        made.append((maps, torch.tensor([frames, frames - n % 3])))
    return made


def run(kind, chosen):
    done = kind()
    for maps, lengths in chosen:
        if kind is MapSimilarity:
            done.update(maps, lengths)
        else:
            for block, block_maps in enumerate(maps):
                done.update(block, block_maps, lengths)
    return done


def same(a, b):
    if torch.is_tensor(a):
        return torch.equal(a, b)
    return all(torch.equal(a[k][m], b[k][m]) for k in a for m in MEASURES) and a.keys() == b.keys()


@pytest.mark.parametrize("kind", [AttentionMeasures, MapSimilarity])
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=9, max_size=9), st.permutations(range(4)))
def test_any_split_merges_to_the_same_bits(kind, shard_of, order):
    data = batches(9, 3, 1)
    whole = run(kind, data).result()
    merged = kind()
    for shard in order:
        part = run(kind, [b for b, s in zip(data, shard_of, strict=True) if s == shard])
        stored = kind()
        stored.load_state_dict(part.state_dict())
        merged.merge(stored)
    assert same(merged.result(), whole)


def test_result_is_the_mean_over_utterances():
    data = batches(4, 2, 2)
    done = run(AttentionMeasures, data)
    assert done.utterances == 8 and done.blocks == [0, 1]
    for block in (0, 1):
        for name in MEASURES:
            values = torch.cat([getattr(measure(m[block], n), name) for m, n in data])
            assert torch.allclose(done.result()[block][name], values.mean(0), rtol=0, atol=1e-12)
    values = torch.cat([pairwise_similarity(m, n).mean(-1).movedim(-1, 0) for m, n in data])
    assert torch.allclose(run(MapSimilarity, data).result(), values.mean(0), rtol=0, atol=1e-12)


def test_maps_are_not_kept_and_the_state_does_not_grow():
    def size(done):
        return sum(v.numel() for s in done.state_dict().values() for v in (s["high"], s["low"]))

    data = batches(12, 2, 3)
    assert size(run(AttentionMeasures, data)) == size(run(AttentionMeasures, data[:1])) == 60


def test_nan_maps_are_refused_by_block():
    done = AttentionMeasures()
    maps = torch.full((1, 1, 3, 3), math.nan)
    with pytest.raises(ValueError, match="block 7: the attention maps hold NaN"):
        done.update(7, maps, [3])
    assert done.blocks == []


def test_nothing_measured_is_said():
    with pytest.raises(ValueError, match="no attention map was measured"):
        AttentionMeasures().result()
    with pytest.raises(ValueError, match="no attention map was compared"):
        MapSimilarity().result()
    other = AttentionMeasures()
    other.merge(AttentionMeasures())
    assert other.utterances == 0


def test_blocks_that_saw_different_utterances_are_refused():
    done = AttentionMeasures()
    maps = torch.full((1, 1, 2, 2), 0.5)
    done.update(0, maps, [2])
    done.update(1, maps, [2])
    done.update(1, maps, [2])
    with pytest.raises(ValueError, match="different numbers of utterances"):
        _ = done.utterances
