from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="synthesis needs eSpeak NG")

from espnet_plugin.data.espeak import Voice, espeak_version, synthesise  # noqa: E402

TEXT = "the little red house is in the hall"


def test_nothing_said_before_matters():
    first = synthesise(TEXT, Voice("en-us+f2"))
    synthesise("there are some other things", Voice("en+m3", rate=200, pitch=80))
    second = synthesise(TEXT, Voice("en-us+f2"))
    assert np.array_equal(first.samples, second.samples)
    assert first.events == second.events


def test_every_word_has_its_event_even_where_espeak_joins_words():
    speech = synthesise(TEXT, Voice("en-us+m3"))
    assert [event.label for event in speech.events if event.kind == "word"] == TEXT.split()
    samples = [event.sample for event in speech.events]
    assert samples == sorted(samples) and samples[-1] <= len(speech.samples)
    assert speech.sample_rate == 22050 and speech.samples.dtype == np.int16


def test_settings_change_the_speech():
    plain = synthesise(TEXT, Voice("en-us+m3"))
    faster = synthesise(TEXT, Voice("en-us+m3", rate=250))
    higher = synthesise(TEXT, Voice("en-us+m3", pitch=90))
    assert len(faster.samples) < 0.8 * len(plain.samples)
    assert not np.array_equal(higher.samples[:20000], plain.samples[:20000])


def test_unknown_voice_is_named():
    with pytest.raises(ValueError, match="'xx-nowhere'"):
        synthesise(TEXT, Voice("xx-nowhere"))


def test_version():
    assert espeak_version().split(".")[0] == "1"
