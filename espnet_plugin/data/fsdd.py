"""The free spoken digits (Jackson et al., github.com/Jakobovski/free-spoken-digit-dataset)."""

from __future__ import annotations

from math import gcd
from pathlib import Path
from typing import Dict, List, NamedTuple

import numpy as np
import soundfile
from scipy.signal import resample_poly

from espnet_plugin.atomic import PathLike, atomic_dir, atomic_open
from espnet_plugin.stacks.batches import DataError

WORDS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
TEST_BELOW = 5
"""Recordings of a speaker and digit with an index below it are the test set (the authors'
README); everybody who is tested is in the training set too."""


class Digit(NamedTuple):
    """One recording, as its name ``digit_speaker_index.wav`` says."""

    path: Path
    digit: int
    speaker: str
    number: int

    @property
    def utt_id(self) -> str:
        """Begins with the speaker, as Kaldi wants."""
        return f"{self.speaker}-{self.digit}-{self.number:02d}"


def find_digits(recordings: PathLike) -> List[Digit]:
    """All recordings of a folder, by speaker, digit and index.

    Raises:
        DataError: no recordings, or one with another name.
    """
    found = []
    for path in Path(recordings).glob("*.wav"):
        parts = path.stem.split("_")
        if len(parts) != 3 or not (parts[0].isdigit() and parts[2].isdigit() and parts[1]):
            raise DataError(f"{path}: not a name like 7_jackson_32.wav")
        if int(parts[0]) > 9:
            raise DataError(f"{path}: {parts[0]} is no digit")
        found.append(Digit(path, int(parts[0]), parts[1], int(parts[2])))
    if not found:
        raise DataError(f"{recordings}: no recordings like 7_jackson_32.wav")
    return sorted(found, key=lambda d: d.utt_id)


def prepare_digits(recordings: PathLike, out: PathLike, rate: int = 16000) -> Dict[str, int]:
    """Kaldi directories ``train`` and ``test`` with wav.scp, text, utt2spk and spk2utt.

    Args:
        recordings: the corpus's folder of WAV files.
        out: where the directories go, each with its recordings in ``wav``; a directory that is
            there is replaced as a whole.
        rate: samples per second that all are resampled to (by a polyphase filter).

    Returns:
        The number of recordings of each set.

    Raises:
        DataError: see :func:`find_digits`; a recording that cannot be read, is empty or not of one
            channel; a set without a recording.
    """
    digits = find_digits(recordings)
    sets = {
        "train": [digit for digit in digits if digit.number >= TEST_BELOW],
        "test": [digit for digit in digits if digit.number < TEST_BELOW],
    }
    for name, members in sets.items():
        if not members:
            raise DataError(f"{recordings}: no recordings for the {name} set")
        with atomic_dir(Path(out) / name) as directory:
            (directory / "wav").mkdir()
            for digit in members:
                samples = _read(digit.path, rate)
                soundfile.write(str(directory / "wav" / f"{digit.utt_id}.wav"), samples, rate)
            _write_lists(directory, members)
    return {name: len(members) for name, members in sets.items()}


def _read(path: Path, rate: int) -> np.ndarray:
    try:
        samples, own_rate = soundfile.read(str(path), dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if samples.shape[1] != 1 or len(samples) == 0:
        raise DataError(f"{path}: {len(samples)} samples of {samples.shape[1]} channels, not one")
    common = gcd(rate, own_rate)
    resampled = resample_poly(samples[:, 0], rate // common, own_rate // common)
    return np.clip(resampled, -1.0, 1.0 - 2.0**-15)


def _write_lists(directory: Path, members: List[Digit]) -> None:
    speakers: Dict[str, List[str]] = {}
    for digit in members:
        speakers.setdefault(digit.speaker, []).append(digit.utt_id)
    lists = {
        "wav.scp": [f"{digit.utt_id} wav/{digit.utt_id}.wav" for digit in members],
        "text": [f"{digit.utt_id} {WORDS[digit.digit]}" for digit in members],
        "utt2spk": [f"{digit.utt_id} {digit.speaker}" for digit in members],
        "spk2utt": [f"{speaker} {' '.join(names)}" for speaker, names in sorted(speakers.items())],
    }
    for name, lines in lists.items():
        with atomic_open(directory / name) as stream:
            stream.write("\n".join(lines) + "\n")
