from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from espnet_plugin.benchmark.measure import speech_of


def test_speech_is_joined_and_cut(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    written = [generator.normal(0, 0.1, size).astype("float32") for size in (8000, 12000)]
    for i, samples in enumerate(written):
        soundfile.write(tmp_path / f"{i}.wav", samples, 16000, subtype="FLOAT")
    (tmp_path / "wav.scp").write_text(f"a {tmp_path}/0.wav\nb {tmp_path}/1.wav\n")
    speech, lengths, rate = speech_of(str(tmp_path), 2.0, 3)
    assert speech.shape == (3, 32000) and lengths.tolist() == [32000] * 3 and rate == 16000
    np.testing.assert_array_equal(speech.flatten(), np.concatenate(written * 5)[:96000])
