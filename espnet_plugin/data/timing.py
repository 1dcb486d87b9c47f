"""Word and phone times out of eSpeak NG's events."""

from __future__ import annotations

from typing import List, NamedTuple, Tuple

from espnet_plugin.data.espeak import Speech
from espnet_plugin.data.phones import (
    CONSONANTS,
    SILENCE,
    Phone,
    fold_phone,
    from_espeak,
    merge_silences,
)


class _Segment(NamedTuple):
    start: int
    phones: Tuple[str, ...]
    word: str  # the word that starts here, or ""


def word_and_phone_times(
    speech: Speech, language: str, rate: int
) -> Tuple[List[Phone], List[Phone]]:
    """The words, and the phones with silences, of ``speech``.

    Times are samples at ``rate`` Hz counted from the start of the speech (an event's sample
    is rounded to the nearest). Phones cover the speech without gaps. Where a word's event
    comes before that of its first phone, what lies between them is the closure of that phone,
    if it is a consonant, and belongs to it. Before a vowel it is the last consonant of the
    word before, which eSpeak makes together with the vowel: there the vowel's event counts.

    Raises:
        ValueError: a mnemonic that is not mapped to ARPAbet.
    """

    def at_rate(sample: int) -> int:
        return round(sample * rate / speech.sample_rate)

    total = at_rate(len(speech.samples))
    segments = _segments(speech, language)
    ends = [at_rate(segment.start) for segment in segments[1:]] + [total]
    words: List[Phone] = []
    phones: List[Phone] = []
    for segment, end in zip(segments, ends, strict=True):
        start = at_rate(segment.start)
        share = (end - start) / len(segment.phones)
        bounds = [start + round(share * i) for i in range(len(segment.phones))] + [end]
        phones += [
            Phone(p, a, b) for p, a, b in zip(segment.phones, bounds, bounds[1:], strict=False)
        ]
        if segment.word:
            words.append(Phone(segment.word, start, end))
        elif words and segment.phones != (SILENCE,):
            words[-1] = words[-1]._replace(end=end)
    return words, merge_silences(phones)


def _segments(speech: Speech, language: str) -> List[_Segment]:
    """Each phoneme event, and the word it opens."""
    mnemonics = [event.label for event in speech.events if event.kind == "phone"]
    following = iter([*mnemonics[1:], ""])
    segments: List[_Segment] = []
    word = None
    for event in speech.events:
        if event.kind == "word":
            word = event
            continue
        phones = from_espeak(event.label, language, next(following))
        start, label = event.sample, ""
        if word is not None and phones != (SILENCE,):
            label = word.label
            if fold_phone(phones[0]) in CONSONANTS:
                start = word.sample
            word = None
        segments.append(_Segment(start, phones, label))
    return segments
