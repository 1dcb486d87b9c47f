"""Word and phone times out of eSpeak NG's events."""

from __future__ import annotations

from typing import List, NamedTuple, Tuple

from espnet_plugin.data.espeak import Speech
from espnet_plugin.data.phones import SILENCE, Phone, from_espeak, merge_silences

# eSpeak closes a plosive for up to 61 ms before its phoneme event; a longer gap is a pause.
LONGEST_CLOSURE = 0.065


class _Segment(NamedTuple):
    start: int
    phones: Tuple[str, ...]
    word: str  # the word that starts here, or ""


def word_and_phone_times(
    speech: Speech, language: str, rate: int
) -> Tuple[List[Phone], List[Phone]]:
    """The words, and the phones with silences, of ``speech``.

    Times are samples at ``rate`` Hz counted from the start of the speech (an event's sample
    is rounded to the nearest). Phones cover the speech without gaps. A word's first phone
    starts with the word, closure included, unless eSpeak pauses there for longer than
    ``LONGEST_CLOSURE``; that pause is silence.

    Raises:
        ValueError: a mnemonic that is not mapped to ARPAbet.
    """

    def at_rate(sample: int) -> int:
        return round(sample * rate / speech.sample_rate)

    total = at_rate(len(speech.samples))
    segments = _segments(speech, language, LONGEST_CLOSURE * speech.sample_rate)
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


def _segments(speech: Speech, language: str, longest_closure: float) -> List[_Segment]:
    """Each phoneme event with its start moved to the start of the word it opens."""
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
            if start - word.sample <= longest_closure:
                start = word.sample
            else:
                segments.append(_Segment(word.sample, (SILENCE,), ""))
            word = None
        segments.append(_Segment(start, phones, label))
    return segments
