"""The speakers of the mini corpus: eSpeak NG voices by accent, variant, pitch and rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple

from espnet_plugin.data.espeak import Voice

PARTS = ("train-clean-5", "dev-clean-2", "test-clean-1")


@dataclass(frozen=True)
class Speaker:
    """A speaker id (above LibriSpeech's own, which end below 9000), sex ``F``/``M``, voice."""

    id: int
    sex: str
    voice: Voice


# accent+variant, pitch, words per minute, pitch range. Each speaker is another combination;
# dev and test each have one variant that training lacks.
_VOICES: Dict[str, Tuple[Tuple[str, int, int, int], ...]] = {
    "train-clean-5": (
        ("en-us+m1", 45, 160, 50), ("en-us+f1", 55, 165, 50), ("en-us+m2", 50, 170, 45),
        ("en-us+f2", 50, 160, 55), ("en-us+m3", 55, 165, 50), ("en-us+f3", 45, 170, 50),
        ("en-us+m4", 45, 165, 55), ("en-us+f4", 50, 165, 45), ("en-us+m5", 50, 160, 50),
        ("en-us+f5", 55, 160, 50), ("en-us+m7", 40, 170, 60), ("en-us+Annie", 50, 165, 50),
        ("en-us-nyc+m1", 60, 170, 50), ("en-us-nyc+f2", 40, 170, 50),
        ("en-us+steph", 45, 160, 50), ("en-us+Lee", 50, 165, 50),
        ("en+m3", 45, 160, 50), ("en+f3", 55, 165, 50), ("en+m2", 60, 170, 50),
        ("en-gb-x-rp+f4", 40, 160, 55), ("en-gb-x-rp+m4", 55, 165, 50),
        ("en-us+aunty", 50, 170, 45), ("en-us+m8", 45, 165, 50), ("en-us+Andy", 50, 160, 50),
        ("en-us+Denis", 50, 165, 50), ("en-us+Michael", 45, 170, 50), ("en-us+Alicia", 50, 165, 50),
        ("en-us+Andrea", 50, 160, 50), ("en-us+Gene", 50, 170, 50), ("en-us+belinda", 50, 165, 50),
        ("en-us+edward", 50, 165, 50), ("en-us+steph2", 50, 170, 50), ("en-us+max", 50, 165, 50),
        ("en-us-nyc+m3", 50, 165, 50), ("en-us-nyc+f4", 55, 165, 50),
        ("en-us-nyc+m4", 45, 160, 55), ("en-gb-x-rp+m2", 45, 165, 50),
        ("en-gb-x-rp+f2", 50, 160, 50), ("en+f5", 50, 165, 50), ("en+m1", 50, 170, 45),
    ),
    "dev-clean-2": (
        ("en-us+m3", 45, 170, 55), ("en-us+f2", 58, 165, 50),
        ("en-us+m6", 50, 165, 50), ("en+f1", 50, 160, 50),
    ),
    "test-clean-1": (
        ("en-us+m2", 42, 160, 50), ("en-us+f3", 55, 165, 55), ("en-us-nyc+m5", 58, 165, 45),
        ("en-us+f5", 45, 170, 50), ("en-gb-x-rp+m3", 50, 165, 50), ("en-us+linda", 50, 165, 50),
    ),
}  # fmt: skip


def speakers(part: str) -> List[Speaker]:
    """The speakers of a part of the mini corpus, in the order of their ids.

    Raises:
        ValueError: there is no such part (see ``PARTS``).
    """
    if part not in PARTS:
        raise ValueError(f"the mini corpus has no part {part!r}; there are {', '.join(PARTS)}")
    first = 9001 + sum(len(_VOICES[before]) for before in PARTS[: PARTS.index(part)])
    female = ("f", "Annie", "Alicia", "Andrea", "steph", "aunty", "linda", "belinda")
    return [
        Speaker(
            first + index,
            "F" if name.split("+")[1].startswith(female) else "M",
            Voice(name, rate=rate, pitch=pitch, pitch_range=pitch_range),
        )
        for index, (name, pitch, rate, pitch_range) in enumerate(_VOICES[part])
    ]
