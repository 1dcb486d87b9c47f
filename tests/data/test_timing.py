from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="synthesis needs eSpeak NG")

from espnet_plugin.data.espeak import Event, Speech, Voice, synthesise  # noqa: E402
from espnet_plugin.data.grammar import vocabulary  # noqa: E402
from espnet_plugin.data.phones import Phone, fold_phone  # noqa: E402
from espnet_plugin.data.speakers import PARTS, speakers  # noqa: E402
from espnet_plugin.data.timing import word_and_phone_times  # noqa: E402


def speech(*events, total):
    return Speech(np.zeros(total, np.int16), 22050, tuple(Event(*event) for event in events))


def test_closed_form():
    """What is before a consonant is its closure; what is before a vowel, the word before."""
    said = speech(
        ("word", "can", 0),
        ("phone", "k", 1103),
        ("phone", "'a", 2205),
        ("phone", "n", 6615),
        ("word", "are", 6615),
        ("phone", "'A@", 11025),
        ("phone", "_:", 13230),
        ("phone", "_", 15435),
        total=17640,
    )
    words, phones = word_and_phone_times(said, "en-us", 10000)
    assert words == [Phone("can", 0, 5000), Phone("are", 5000, 6000)]
    assert phones == [
        Phone("K", 0, 1000),
        Phone("AE1", 1000, 3000),
        Phone("N", 3000, 5000),
        Phone("AA1", 5000, 5500),
        Phone("R", 5500, 6000),
        Phone("SIL", 6000, 8000),
    ]


def test_every_word_in_every_accent_is_mapped_and_covered():
    accents = {s.voice.name.split("+")[0] for part in PARTS for s in speakers(part)}
    assert len(accents) >= 4
    every = vocabulary()
    texts = [" ".join(every[i : i + 32]) for i in range(0, len(every), 32)]
    for accent in sorted(accents):
        for text in texts:
            said = synthesise(text, Voice(accent))
            words, phones = word_and_phone_times(said, accent, 16000)
            assert [word.label for word in words] == text.split()
            assert all(a.end <= b.start for a, b in zip(words, words[1:], strict=False))
            assert phones[0].start == 0
            assert phones[-1].end == round(len(said.samples) * 16000 / 22050)
            assert all(a.end == b.start for a, b in zip(phones, phones[1:], strict=False))
            assert all(fold_phone(phone.label) for phone in phones)
            starts = {phone.start for phone in phones if phone.label != "SIL"}
            assert {word.start for word in words} <= starts
