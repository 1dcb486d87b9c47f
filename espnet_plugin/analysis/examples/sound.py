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
    if opus:
        return Sound(number_stream(stream.getvalue()), "audio/ogg; codecs=opus")
    return Sound(stream.getvalue(), "audio/flac")


def number_stream(data: bytes, serial: int = 1) -> bytes:
    """An Ogg file with another serial number: libsndfile draws one, so that no two files of one
    recording would be the same. Source: RFC 3533, section 6."""
    renumbered = bytearray(data)
    at = 0
    while at < len(renumbered):
        segments = renumbered[at + 26]
        size = 27 + segments + sum(renumbered[at + 27 : at + 27 + segments])
        renumbered[at + 14 : at + 18] = serial.to_bytes(4, "little")
        renumbered[at + 22 : at + 26] = bytes(4)
        check = 0
        for byte in renumbered[at : at + size]:
            check = (check << 8 & 0xFFFFFFFF) ^ _CRC[check >> 24 ^ byte]
        renumbered[at + 22 : at + 26] = check.to_bytes(4, "little")
        at += size
    return bytes(renumbered)


def _crc_of(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


_CRC = [_crc_of(byte) for byte in range(256)]
"""Of Ogg's checksum: polynomial 0x04c11db7, not reflected."""


def outline(samples: np.ndarray, points: int = 1200) -> np.ndarray:
    """The largest magnitude of each of ``points`` equal parts, uint8 with the loudest at 255."""
    points = max(1, min(points, len(samples)))
    starts = np.arange(points) * len(samples) // points
    peaks = np.maximum.reduceat(np.abs(samples), starts)
    return np.rint(peaks / max(float(peaks.max()), 1e-9) * 255).astype(np.uint8)
