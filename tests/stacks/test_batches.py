"""Batches of a Kaldi directory: every utterance once, whole, padded with zeros."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.stacks.batches import (
    DataError,
    Utterance,
    iter_batches,
    list_utterances,
    plan_batches,
    read_batch,
    read_wav_scp,
)


@pytest.fixture
def data_dir(tmp_path):
    rng = np.random.default_rng(0)
    lines = []
    for name, samples, kind in (("c", 800, "wav"), ("a", 1600, "flac"), ("b", 1500, "wav")):
        path = tmp_path / f"{name}.{kind}"
        soundfile.write(path, rng.uniform(-0.5, 0.5, samples), 16000)
        lines.append(f"{name} {path}\n")
    (tmp_path / "wav.scp").write_text("".join(lines))
    return tmp_path


def test_batches_hold_every_utterance_whole(data_dir):
    seen = []
    for ids, speech, lengths in iter_batches(data_dir, max_seconds=0.2, rate=16000):
        assert speech.dtype == torch.float32 and lengths.dtype == torch.int64
        assert speech.shape == (len(ids), int(lengths.max()))
        for utt_id, row, length in zip(ids, speech, lengths.tolist(), strict=True):
            kind = "flac" if utt_id == "a" else "wav"
            samples, _ = soundfile.read(data_dir / f"{utt_id}.{kind}", dtype="float32")
            assert np.array_equal(row[:length].numpy(), samples)
            assert not row[length:].any()
        seen.append(ids)
    assert seen == [["a", "b"], ["c"]]


def test_relative_paths_are_found_below_the_directory(data_dir):
    (data_dir / "wav.scp").write_text("c c.wav\n")
    assert [u.utt_id for u in list_utterances(data_dir)] == ["c"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
    st.integers(1, 100),
    st.none() | st.integers(1, 5),
)
def test_plans_keep_the_limits_and_lose_nothing(samples, limit, size):
    utterances = [Utterance(f"u{n}", None, s, 1) for n, s in enumerate(samples)]
    batches = plan_batches(utterances, limit, size)
    assert sorted(u.utt_id for b in batches for u in b) == sorted(u.utt_id for u in utterances)
    lengths = [u.samples for b in batches for u in b]
    assert lengths == sorted(lengths, reverse=True)
    for batch in batches:
        assert len(batch) == 1 or max(u.samples for u in batch) * len(batch) <= limit
        assert size is None or len(batch) <= size
    assert plan_batches(utterances[::-1], limit, size) == batches


@pytest.mark.parametrize("seconds, size", [(0, None), (-1, 2), (1, 0)])
def test_impossible_batches_are_refused(seconds, size):
    with pytest.raises(ValueError, match="no batches of"):
        plan_batches([], seconds, size)


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "",
            "wav.scp: empty; write a line for each recording: its utterance id and its audio file",
        ),
        ("a\n", "wav.scp:1: no path after 'a'"),
        ("a x.wav\na y.wav\n", "wav.scp:2: a is there twice"),
        ("a cat x.wav |\n", "wav.scp:1: a is a command"),
    ],
)
def test_faults_of_wav_scp_name_the_line(tmp_path, text, message):
    (tmp_path / "wav.scp").write_text(text)
    with pytest.raises(DataError, match=message):
        read_wav_scp(tmp_path)


def test_a_missing_wav_scp_and_segments_are_refused(data_dir, tmp_path):
    with pytest.raises(DataError, match="not there"):
        read_wav_scp(tmp_path / "nowhere")
    (data_dir / "segments").write_text("")
    with pytest.raises(DataError, match="segments"):
        read_wav_scp(data_dir)


def test_bad_recordings_are_named(data_dir):
    with pytest.raises(DataError, match="c: .* has 16000 samples/s, not 8000"):
        list_utterances(data_dir, rate=8000)
    soundfile.write(data_dir / "stereo.wav", np.zeros((10, 2)), 16000)
    soundfile.write(data_dir / "empty.wav", np.zeros(0), 16000)
    (data_dir / "text.wav").write_text("no audio")
    for name, reason in (
        ("stereo", "2 channels"),
        ("empty", "is empty"),
        ("text", "cannot read"),
        ("gone", "cannot read"),
    ):
        (data_dir / "wav.scp").write_text(f"u1 {data_dir}/{name}.wav\n")
        with pytest.raises(DataError, match=f"u1: .*{reason}"):
            list_utterances(data_dir)


def test_a_truncated_recording_is_named(data_dir):
    utterance = {u.utt_id: u for u in list_utterances(data_dir)}["a"]
    content = utterance.path.read_bytes()
    utterance.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="a: .*a.flac"):
        read_batch([utterance])


def test_real_recordings(librispeech_root, tmp_path):
    paths = sorted((librispeech_root / "test-other").rglob("*.flac"))[:6]
    lines = [f"{p.stem} {p}\n" for p in paths]
    (tmp_path / "wav.scp").write_text("".join(lines))
    seconds = {u.utt_id: u.seconds for u in list_utterances(tmp_path, rate=16000)}
    total = sum(float(n.sum()) / 16000 for _, _, n in iter_batches(tmp_path, 30.0))
    assert total == pytest.approx(sum(seconds.values())) and len(seconds) == 6
