"""Recordings in memory."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile
import torch

from espnet_plugin.classify.recordings import SHORTEST, read_recordings
from espnet_plugin.stacks.batches import DataError


def test_words_and_speakers(digits):
    words, speakers = (read_recordings(digits / "test", task) for task in ("word", "speaker"))
    assert words.classes == ("ONE", "SIX") and speakers.classes == ("jackson", "theo")
    assert len(words.utterances) == 8
    assert speakers.labels["theo-6-01"] == "theo" and words.labels["theo-6-01"] == "SIX"
    assert words.seconds == pytest.approx(sum(len(w) for w in words.waveforms.values()) / 16000)


def test_batches_hold_everything_once(recordings):
    for seed in (None, 3):
        batches = recordings.batches(2.0, seed)
        seen = []
        for batch in batches.epoch(0):
            names, waveforms, lengths = batches.read(batch)
            for name, row, length in zip(names, waveforms, lengths, strict=True):
                assert torch.equal(row[:length], recordings.waveforms[name])
                assert not row[length:].any()
            seen += names
        assert sorted(seen) == sorted(recordings.waveforms)


def test_first_is_spread_over_the_set(recordings):
    some = recordings.first(4)
    assert [u.utt_id for u in some.utterances] == [u.utt_id for u in recordings.utterances[::4]]
    assert set(some.labels) == set(some.waveforms) == {u.utt_id for u in some.utterances}
    assert recordings.first(99).utterances == recordings.utterances


def copied(digits, tmp_path):
    shutil.copytree(digits / "test", tmp_path / "set")
    return tmp_path / "set"


def test_short_files_get_zeros(digits, tmp_path):
    directory = copied(digits, tmp_path)
    soundfile.write(str(directory / "wav" / "theo-6-01.wav"), np.full(30, 0.5), 16000)
    short = read_recordings(directory, "word")
    batches = short.first(8).batches(1e-9)
    read = {names[0]: (w, n) for names, w, n in map(batches.read, batches.epoch(0))}
    waveforms, lengths = read["theo-6-01"]
    assert waveforms.shape == (1, SHORTEST) and lengths.tolist() == [SHORTEST]
    assert waveforms[0, :30].all() and not waveforms[0, 30:].any()


def test_what_is_wrong_is_named(digits, tmp_path):
    with pytest.raises(DataError, match="unknown task 'mood'"):
        read_recordings(digits / "test", "mood")
    directory = copied(digits, tmp_path)
    soundfile.write(str(directory / "wav" / "theo-6-01.wav"), np.zeros(4000), 8000)
    with pytest.raises(DataError, match="theo-6-01.*8000 samples/s, not 16000"):
        read_recordings(directory, "word")
    text = (digits / "test" / "text").read_text().replace("jackson-1-00 ONE\n", "")
    (directory / "text").write_text(text)
    shutil.copy(digits / "test" / "wav" / "theo-6-01.wav", directory / "wav")
    with pytest.raises(DataError, match="no label for jackson-1-00"):
        read_recordings(directory, "word")
    (directory / "text").unlink()
    with pytest.raises(DataError, match="text: not there"):
        read_recordings(directory, "word")
