"""lhotse cuts as utterances: read like files, and refused with a line where that cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from espnet_plugin.data.kaldi import write_kaldi_dir
from espnet_plugin.stacks.batches import (
    DataError,
    list_utterances,
    plan_batches,
    read_batch,
    read_labels,
)


def recording(directory, name, samples=8000, channels=1):
    values = np.random.default_rng(len(name)).normal(0, 0.1, (samples, channels))
    soundfile.write(directory / f"{name}.wav", values, 16000)
    return Recording.from_file(directory / f"{name}.wav", recording_id=name)


def cut(of, name, start=0.0, duration=None, text="A B", speaker="s1"):
    duration = of.duration - start if duration is None else duration
    said = SupervisionSegment(name, of.id, 0, duration, text=text, speaker=speaker)
    return MonoCut(name, start, duration, 0, [said], recording=of)


@pytest.fixture
def cuts(tmp_path):
    one, two = recording(tmp_path, "one"), recording(tmp_path, "two", 5000)
    return [
        cut(one, "whole"),
        cut(one, "part", start=0.1, duration=0.2, speaker="s2"),
        cut(two, "last", start=2000 / 16000, text="C"),
    ]


def write(tmp_path, cuts, name="cuts.jsonl.gz"):
    CutSet.from_cuts(cuts).to_file(tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("name", ["cuts.jsonl.gz", "cuts.jsonl"])
def test_utterances_are_the_samples_of_the_cuts(tmp_path, cuts, name):
    path = write(tmp_path, cuts, name)
    utterances = list_utterances(path, 16000)
    assert [(u.utt_id, u.samples) for u in utterances] == [
        ("whole", 8000),
        ("part", 3200),
        ("last", 3000),
    ]
    for utterance, one in zip(utterances, cuts, strict=True):
        np.testing.assert_array_equal(utterance.read(), one.load_audio()[0])
    (batch,) = plan_batches(utterances, 60)
    names, speech, lengths = read_batch(batch)
    assert names == ["whole", "part", "last"] and lengths.tolist() == [8000, 3200, 3000]
    np.testing.assert_array_equal(speech[2, :3000].numpy(), cuts[2].load_audio()[0])
    assert not speech[2, 3000:].any()


def test_texts_and_speakers_of_cuts_and_kaldi_directories(tmp_path, cuts):
    path = write(tmp_path, cuts)
    assert read_labels(path, "text") == {"whole": "A B", "part": "A B", "last": "C"}
    assert read_labels(path, "speaker") == {"whole": "s1", "part": "s2", "last": "s1"}
    write_kaldi_dir(tmp_path / "kaldi", cuts[:1])
    assert read_labels(tmp_path / "kaldi", "text") == {"whole": "A B"}
    assert read_labels(tmp_path / "kaldi", "speaker") == {"whole": "s1"}
    cuts[0].supervisions[0].speaker = None
    with pytest.raises(DataError, match="whole has no supervision, or several, with a speaker"):
        read_labels(write(tmp_path, cuts), "speaker")


def test_cuts_that_cannot_be_read_are_named(tmp_path, cuts):
    stereo = recording(tmp_path, "stereo", channels=2)
    for wrong, message in (
        ([cuts[0], cuts[0]], "whole is there twice"),
        ([cuts[0].perturb_speed(0.9)], "is changed"),
        ([cuts[0].append(cuts[2])], "is a MixedCut, not a cut of one file"),
        ([cut(stereo, "stereo")], "stereo has 2 channels, not one"),
        ([MonoCut("none", 0, 0.5, 0)], "none has no recording"),
    ):
        path = tmp_path / "wrong.jsonl"
        path.write_text("".join(json.dumps(one.to_dict()) + "\n" for one in wrong))
        with pytest.raises(DataError, match=f"{path}: .*{message}"):
            list_utterances(path)
    with pytest.raises(DataError, match="whole has 16000 samples/s, not 8000"):
        list_utterances(write(tmp_path, cuts), 8000)
    for held in (cuts[0].recording, cuts[0].supervisions[0]):
        path.write_text(json.dumps(held.to_dict()) + "\n")
        with pytest.raises(DataError, match=f"holds {type(held).__name__}s, not cuts; name a file"):
            list_utterances(path)
    (tmp_path / "text.jsonl").write_text("hello\n")
    with pytest.raises(DataError, match="text.jsonl: not a file of lhotse cuts: "):
        list_utterances(tmp_path / "text.jsonl")
    gone = tmp_path / "two.wav"
    gone.unlink()
    with pytest.raises(DataError, match=f"last: cannot read {gone}"):
        read_batch(list_utterances(write(tmp_path, cuts))[2:])
