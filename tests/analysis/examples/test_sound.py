"""Recordings for browsers: time stays exact, in any rate."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from espnet_plugin.analysis.examples.sound import encode, number_stream, outline


@pytest.mark.parametrize(("rate", "kind"), [(16000, "ogg"), (8000, "ogg"), (22050, "flac")])
def test_what_is_played_begins_and_ends_with_the_recording(rate, kind):
    generator = np.random.default_rng(0)
    time = np.arange(int(3.2 * rate)) / rate
    loud = np.repeat(generator.random(32), len(time) // 32 + 1)[: len(time)]
    samples = (0.5 * loud * np.sin(2 * np.pi * (200 + 90 * time) * time)).astype(np.float32)
    found = encode(samples, rate)
    assert kind in found.kind
    again, found_rate = soundfile.read(io.BytesIO(found.data))
    assert found_rate == rate and len(again) == len(samples)
    shifts = range(-40, 41)
    inner = samples[100:-100]
    match = [float(inner @ again[100 + shift : len(again) - 100 + shift]) for shift in shifts]
    assert shifts[int(np.argmax(match))] == 0
    assert np.corrcoef(samples, again)[0, 1] > 0.95
    assert len(found.data) < (12_000 if kind == "ogg" else 60_000) * 3.2


def test_louder_than_full_scale_is_clipped():
    found = encode(np.full(8000, 1.5, np.float32), 22050)
    assert soundfile.read(io.BytesIO(found.data))[0].max() <= 1.0


def test_the_outline_is_the_largest_magnitude_of_each_part():
    samples = np.zeros(1000, np.float32)
    samples[250] = -0.5
    samples[999] = 0.25
    found = outline(samples, 10)
    assert found.tolist() == [0, 0, 255, 0, 0, 0, 0, 0, 0, 128]
    assert outline(samples[:3], 10).tolist() == [0, 0, 0]


def test_the_same_recording_gives_the_same_file():
    samples = np.sin(np.arange(40000) / 20).astype(np.float32) / 2
    assert encode(samples, 16000).data == encode(samples, 16000).data


def test_the_checksums_are_those_that_libsndfile_writes():
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", 16000, 1, format="OGG", subtype="OPUS") as file:
        file.write(np.zeros(50000, np.float32))
    data = stream.getvalue()
    serial = int.from_bytes(data[14:18], "little")
    assert number_stream(data, serial) == data
