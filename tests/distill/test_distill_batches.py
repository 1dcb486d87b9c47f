"""Batches drawn afresh in each epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espnet_plugin.distill.batches import SpeechBatches, at_random_speed
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


def test_batches_are_played_slower_or_faster(tmp_path):
    """A tone of 100 Hz comes out at another pitch, and is as much shorter."""
    time = torch.arange(4000) / 1000

    def read(batch):
        speech = torch.sin(2 * torch.pi * 100 * time).repeat(len(batch), 1)
        lengths = torch.tensor([4000] + [1000] * (len(batch) - 1))
        speech[1:, 1000:] = 0
        return [u.utt_id for u in batch], speech, lengths

    changed = at_random_speed(0.2, 5, read)
    speeds = []
    for number in range(40):
        batch = some([400, 100])[:2] if number == 0 else [some([1] * 60)[number], some([1])[0]]
        names, speech, lengths = changed(batch)
        speed = 4000 / speech.size(1)
        speeds.append(speed)
        assert names == [u.utt_id for u in batch]
        assert lengths.tolist() == pytest.approx([4000 / speed, 1000 / speed], abs=1.5)
        assert speech[1, lengths[1] + 2 :].abs().max() == 0
        peak = torch.fft.rfft(speech[0]).abs().argmax() * 1000 / speech.size(1)
        assert float(peak) == pytest.approx(100 * speed, abs=0.3)
    assert 0.8 <= min(speeds) < 0.87 and 1.13 < max(speeds) <= 1.2
    again = at_random_speed(0.2, 5, read)(batch)
    assert torch.equal(again[1], speech) and torch.equal(again[2], lengths)
    assert at_random_speed(0.2, 6, read)(batch)[1].shape != speech.shape
    for spread in (-0.1, 1.0):
        with pytest.raises(ValueError, match="speeds vary by 0 to less than 1"):
            at_random_speed(spread)
