"""Phone labels: the 39 ARPAbet phones and silence, and eSpeak NG's mnemonics mapped to them."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Sequence, Tuple

SILENCE = "SIL"
UNKNOWN = "SPN"
VOWELS = tuple("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
CONSONANTS = tuple("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())
ARPABET = tuple(sorted(VOWELS + CONSONANTS))

_SILENT_LABELS = frozenset({"", "sil", "sp", "SIL", "SP"})

# What eSpeak's English voices emit. Two phones share one event in equal parts: eSpeak makes an
# r-coloured or schwa-coloured vowel as one segment, so there is no time between them to know.
_COMMON: Dict[str, str] = {
    "0": "AA", "3": "AH", "3:": "ER", "@": "AH", "@2": "AH", "@5": "UH", "@L": "AH L",
    "A:": "AA", "A@": "AA", "E": "EH", "I": "IH", "I#": "IH", "I2": "IH", "O2": "AO",
    "O:": "AO", "O@": "AO", "o@": "AO", "OI": "OY", "U": "UH", "U@": "UH", "V": "AH",
    "a": "AE", "a#": "AH", "aI": "AY", "aI2": "AY", "aI3": "AY", "aI@": "AY AH", "aU": "AW",
    "aU@": "AW AH", "aa": "AA", "e@": "EH", "eI": "EY", "i": "IY", "i:": "IY", "i@": "IY AH",
    "i@3": "IH AH", "oU": "OW", "u:": "UW",
    "b": "B", "d": "D", "D": "DH", "dZ": "JH", "f": "F", "g": "G", "h": "HH", "j": "Y",
    "k": "K", "l": "L", "m": "M", "n": "N", "N": "NG", "p": "P", "r": "R", "r-": "R", "s": "S",
    "S": "SH", "t": "T", "t#": "T", "t2": "T", "T": "TH", "tS": "CH", "v": "V", "w": "W",
    "z": "Z", "Z": "ZH",
    ";": "Y",
    "_": SILENCE, "_:": SILENCE,
}  # fmt: skip
_AMERICAN: Dict[str, str] = {
    "3": "ER", "A@": "AA R", "O@": "AO R", "o@": "AO R", "U@": "UH R", "aa": "AE",
    "e@": "EH R", "i@3": "IH R", "aI3": "AY ER", "aU@": "AW ER",
}  # fmt: skip


class Phone(NamedTuple):
    """A phone label (ARPAbet, vowels with a stress digit) from ``start`` to ``end``."""

    label: str
    start: float
    end: float


def fold_phone(label: str) -> str:
    """The class of an alignment's label: stress removed, every kind of silence ``SIL``.

    ``spn`` (an unknown word in LibriSpeech's alignments) becomes ``SPN``.

    Raises:
        ValueError: neither an ARPAbet phone nor silence.
    """
    if label in _SILENT_LABELS:
        return SILENCE
    phone = label.upper().rstrip("012")
    if phone in ARPABET or phone == UNKNOWN:
        return phone
    raise ValueError(f"not an ARPAbet phone: {label!r}")


def from_espeak(mnemonic: str, language: str, following: str = "") -> Tuple[str, ...]:
    """ARPAbet for an eSpeak mnemonic, vowels with stress (0 none, 1 primary, 2 secondary).

    Args:
        mnemonic: as in a phoneme event, with eSpeak's stress marks (``'aU`` is stressed).
        language: of the voice; ``en-us`` and its kin are rhotic, the other accents are not.
        following: the next mnemonic: before an ``r`` of its own, a vowel does not add another.

    Raises:
        ValueError: the mnemonic is not in the table.
    """
    bare = mnemonic.lstrip("',%=")
    table = {**_COMMON, **_AMERICAN} if language.startswith("en-us") else _COMMON
    if bare not in table:
        raise ValueError(f"eSpeak mnemonic {mnemonic!r} ({language}) is not mapped to ARPAbet")
    phones = table[bare].split()
    if following.startswith("r") and len(phones) == 2 and phones[1] == "R":
        phones = phones[:1]
    stress = "1" if mnemonic.startswith("'") else "2" if mnemonic.startswith(",") else "0"
    stressed: List[str] = []
    for phone in phones:
        stressed.append(phone + stress if phone in VOWELS else phone)
        if phone in VOWELS:
            stress = "0"
    return tuple(stressed)


def merge_silences(phones: Sequence[Phone]) -> List[Phone]:
    """Join neighbouring silences and drop phones of no length."""
    merged: List[Phone] = []
    for phone in phones:
        if phone.end <= phone.start:
            continue
        if merged and phone.label == SILENCE == merged[-1].label:
            merged[-1] = Phone(SILENCE, merged[-1].start, phone.end)
        else:
            merged.append(phone)
    return merged
