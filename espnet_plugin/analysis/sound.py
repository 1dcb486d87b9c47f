"""Recordings as small files that browsers play, and their outline."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import soundfile

OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
SECONDS_AT_ONCE = 1.0


class Sound(NamedTuple):
    """An encoded recording."""

    data: bytes
    kind: str
    """MIME type."""


def encode(samples: np.ndarray, rate: int) -> Sound:
    """Ogg/Opus where Opus has the rate (about 10 kB a second at 16 kHz), FLAC otherwise.

    Both keep time exactly: sample n of what is played is sample n of the recording.

    Args:
        samples: (N,) floating, −1 to 1.
        rate: samples per second.
    """
    opus = rate in OPUS_RATES
    kind, subtype = ("OGG", "OPUS") if opus else ("FLAC", "PCM_16")
    stream = io.BytesIO()
    with soundfile.SoundFile(
        stream, "w", samplerate=rate, channels=1, format=kind, subtype=subtype
    ) as file:
        step = max(1, int(SECONDS_AT_ONCE * rate))
        for start in range(0, len(samples), step):  # libsndfile fails on long single writes
            file.write(np.clip(samples[start : start + step], -1.0, 1.0))
    return Sound(stream.getvalue(), "audio/ogg; codecs=opus" if opus else "audio/flac")


def outline(samples: np.ndarray, points: int = 1200) -> np.ndarray:
    """The largest magnitude of each of ``points`` equal parts, uint8 with the loudest at 255."""
    points = max(1, min(points, len(samples)))
    starts = np.arange(points) * len(samples) // points
    peaks = np.maximum.reduceat(np.abs(samples), starts)
    return np.rint(peaks / max(float(peaks.max()), 1e-9) * 255).astype(np.uint8)
