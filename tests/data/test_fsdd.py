"""The free spoken digits as Kaldi directories."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_plugin.data.fsdd import find_digits, prepare_digits
from espnet_plugin.stacks.batches import DataError, list_utterances


@pytest.fixture
def corpus(data_root, tmp_path) -> Path:
    """Two digits of two speakers, indices 3 to 6."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for digit in (1, 6):
        for speaker in ("jackson", "theo"):
            for index in range(3, 7):
                name = f"{digit}_{speaker}_{index}.wav"
                shutil.copy(data_root / "fsdd" / "recordings" / name, folder / name)
    return folder


def test_directories_of_real_recordings(corpus, tmp_path):
    assert prepare_digits(corpus, tmp_path / "data") == {"train": 8, "test": 8}
    for name, indices in (("train", ("05", "06")), ("test", ("03", "04"))):
        directory = tmp_path / "data" / name
        utterances = list_utterances(directory, rate=16000)
        names = [utterance.utt_id for utterance in utterances]
        assert names == sorted(names) and {n[-2:] for n in names} == set(indices)
        text = dict(line.split() for line in (directory / "text").read_text().splitlines())
        speakers = dict(line.split() for line in (directory / "utt2spk").read_text().splitlines())
        assert set(text) == set(speakers) == set(names)
        assert text[f"theo-6-{indices[0]}"] == "SIX" and text[f"theo-1-{indices[0]}"] == "ONE"
        assert all(name.startswith(f"{speakers[name]}-") for name in names)
        assert (directory / "spk2utt").read_text().startswith("jackson jackson-1-")


def test_resampling_adds_nothing_above_the_old_band(corpus, tmp_path):
    prepare_digits(corpus, tmp_path / "data")
    old, _ = soundfile.read(str(corpus / "6_theo_5.wav"))
    new, rate = soundfile.read(str(tmp_path / "data" / "train" / "wav" / "theo-6-05.wav"))
    assert rate == 16000 and len(new) == 2 * len(old)
    power = np.abs(np.fft.rfft(new)) ** 2
    above = np.fft.rfftfreq(len(new), 1 / rate) > 4300
    assert power[above].sum() < 1e-3 * power.sum()
    assert np.corrcoef(new[::2], old)[0, 1] > 0.999


def test_the_whole_corpus_is_found(data_root):
    digits = find_digits(data_root / "fsdd" / "recordings")
    assert len(digits) == 3000
    assert len({digit.speaker for digit in digits}) == 6
    assert len({digit.utt_id for digit in digits}) == 3000


@pytest.mark.parametrize("name", ["six.wav", "6_theo.wav", "x_theo_1.wav", "12_theo_1.wav"])
def test_other_names_are_refused(corpus, tmp_path, name):
    (corpus / name).write_bytes(b"")
    with pytest.raises(DataError, match=name):
        prepare_digits(corpus, tmp_path / "data")


def test_what_cannot_be_used_is_named(corpus, tmp_path):
    with pytest.raises(DataError, match="no recordings"):
        prepare_digits(tmp_path / "nowhere", tmp_path / "data")
    soundfile.write(str(corpus / "6_theo_7.wav"), np.zeros((10, 2)), 8000)
    with pytest.raises(DataError, match="6_theo_7.wav.*channels"):
        prepare_digits(corpus, tmp_path / "data")
    (corpus / "6_theo_7.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="6_theo_7.wav"):
        prepare_digits(corpus, tmp_path / "data")
    for path in corpus.glob("*_[56].wav"):
        path.unlink()
    (corpus / "6_theo_7.wav").unlink()
    with pytest.raises(DataError, match="train"):
        prepare_digits(corpus, tmp_path / "data")
