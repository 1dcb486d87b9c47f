"""Batches drawn afresh in each epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_plugin.distill.batches import SpeechBatches
from espnet_plugin.stacks.batches import Utterance


def some(lengths: list[int]) -> list[Utterance]:
    return [Utterance(f"u{i:03}", Path(f"{i}.wav"), n, 100) for i, n in enumerate(lengths)]


def ids(batches):
    return [[u.utt_id for u in batch] for batch in batches]


@given(
    st.lists(st.integers(1, 900), min_size=1, max_size=60),
    st.floats(0.5, 40),
    st.sampled_from([0, 1, None]),
    st.integers(0, 5),
)
def test_an_epoch_has_every_utterance_once_in_batches_of_so_many_seconds(
    lengths, most, seed, epoch
):
    batches = SpeechBatches(some(lengths), most, seed).epoch(epoch)
    assert sorted(u for batch in ids(batches) for u in batch) == [u.utt_id for u in some(lengths)]
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(u.seconds for u in batch) <= most


def test_epochs_differ_and_come_back():
    utterances = some([100 + 7 * (i % 40) for i in range(200)])
    batches = SpeechBatches(utterances, 20.0, seed=3)
    first, second = ids(batches.epoch(0)), ids(batches.epoch(1))
    assert first[0] != second[0] and {*map(tuple, first)} != {*map(tuple, second)}
    again = SpeechBatches(utterances[::-1], 20.0, seed=3)
    assert ids(again.epoch(1)) == second
    assert ids(SpeechBatches(utterances, 20.0, seed=4).epoch(1)) != second
    starts = {tuple(ids(batches.epoch(n))[0]) for n in range(20)}
    assert len(starts) > 15  # never the same first batch for ever


def test_little_is_padded():
    utterances = some([100 + i for i in range(400)])
    speech = sum(u.seconds for u in utterances)
    batches = SpeechBatches(utterances, 60.0).epoch(0)
    padded = sum(len(b) * max(u.seconds for u in b) for b in batches)
    assert padded < 1.25 * speech


def test_held_out_batches_are_the_same_in_every_epoch():
    batches = SpeechBatches(some([5, 300, 20, 80]), 5.0, seed=None)
    assert ids(batches.epoch(0)) == ids(batches.epoch(1)) == [["u001"], ["u003", "u002", "u000"]]


def test_nothing_to_draw_from():
    with pytest.raises(ValueError, match="no utterances"):
        SpeechBatches([])
    with pytest.raises(ValueError, match="0 s"):
        SpeechBatches(some([1]), 0)
