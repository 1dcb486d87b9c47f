"""Phone labels of hidden frames, from alignments, exact to the sample."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Tuple

import numpy as np
import torch

from espnet_plugin.analysis.phonemes.frames import FrameClock
from espnet_plugin.atomic import PathLike
from espnet_plugin.data.alignments import phone_intervals
from espnet_plugin.data.phones import ARPABET, SILENCE, UNKNOWN, VOWELS, fold_phone
from espnet_plugin.data.textgrid import Interval, read_textgrid

FOLDED: Tuple[str, ...] = (*ARPABET, SILENCE)
"""39 phones without stress, and silence: the default classes."""
STRESSED: Tuple[str, ...] = (
    *(f"{p}{s}" if s else p for p in ARPABET for s in (("0", "1", "2") if p in VOWELS else ("",))),
    SILENCE,
)
"""Each vowel with its stress 0, 1 and 2; the consonants, and silence."""
NOTHING = -1
"""The class of frames that do not count: unknown words (SPN), or no phone there."""

_NANO = 10**9


class Aligned(NamedTuple):
    """The alignment of one utterance; seconds from its start."""

    phones: List[Interval]
    """With stress; silence is SIL, an unknown word SPN."""
    words: List[Interval]
    """Empty where the source has none."""


class Samples(NamedTuple):
    """The phones of one utterance in samples, (N,) int64 each, in order of time."""

    classes: np.ndarray
    """Places in the symbols, or :data:`NOTHING`."""
    starts: np.ndarray
    """The first sample of each phone."""
    ends: np.ndarray
    """One after the last."""


class PhoneLabels:
    """The phones of the utterances of a data set.

    Sample n belongs to the phone with start ≤ n / rate < end. Times are whole nanoseconds and the
    arithmetic is that of integers; a boundary within a thousandth of a sample of one is that
    sample, for times of a file are rounded.

    Args:
        utterances: name -> its alignment, or a function that reads it when asked.
        symbols: :data:`FOLDED` or :data:`STRESSED`.
        source: where they are from, for messages.
        without: utterances that the source names without an alignment.
    """

    def __init__(
        self,
        utterances: Mapping[str, Callable[[], Aligned]],
        symbols: Tuple[str, ...] = FOLDED,
        source: PathLike = "the alignments",
        without: FrozenSet[str] = frozenset(),
    ) -> None:
        self._utterances = dict(utterances)
        self.symbols, self.source, self.without = symbols, str(source), without
        self._places = {symbol: place for place, symbol in enumerate(symbols)}
        self._aligned = lru_cache(maxsize=256)(self._read)

    @classmethod
    def read(cls, path: PathLike, symbols: Tuple[str, ...] = FOLDED) -> PhoneLabels:
        """From a directory of TextGrids, or a lhotse manifest (``bin.align`` writes one)."""
        if Path(path).is_dir():
            return cls.from_textgrids(path, symbols)
        return cls.from_manifest(path, symbols)

    @classmethod
    def from_textgrids(cls, directory: PathLike, symbols: Tuple[str, ...] = FOLDED) -> PhoneLabels:
        """From ``<utterance>.TextGrid``, at any depth; tiers ``phones`` and, if there, ``words``.

        The files are read when their utterances are asked for.

        Raises:
            ValueError: there is none, or two of one name.
        """
        found: Dict[str, Path] = {}
        for path in sorted(Path(directory).rglob("*.TextGrid")):
            if path.stem in found:
                raise ValueError(f"{path.stem}: two TextGrids, {found[path.stem]} and {path}")
            found[path.stem] = path
        if not found:
            raise ValueError(f"{directory}: no TextGrid in it; name their directory")
        readers = {name: _textgrid_reader(path) for name, path in found.items()}
        return cls(readers, symbols, directory)

    @classmethod
    def from_manifest(cls, path: PathLike, symbols: Tuple[str, ...] = FOLDED) -> PhoneLabels:
        """From lhotse cuts or supervisions (jsonl, jsonl.gz) whose alignment has ``phone``.

        An utterance is a supervision, and time counts from its start; or it is a cut, and time
        counts from the cut's. Where both have one id, they are one utterance.

        Raises:
            ValueError: no such manifest, no phones in it, or an utterance twice.
        """
        try:
            levels = _levels(path)
        except Exception as error:  # lhotse raises whatever the file provokes
            said = " ".join(str(error).split())
            raise ValueError(f"{path}: no manifest of cuts or supervisions: {said}") from None
        readers = {
            name: _manifest_reader(start, alignment)
            for name, (start, alignment) in levels.items()
            if alignment.get("phone")
        }
        if not readers:
            there = sorted({level for _, alignment in levels.values() for level in alignment})
            raise ValueError(
                f"{path}: no alignment of level 'phone' (there are: {', '.join(there) or 'none'}); "
                "make one with espnet_plugin.bin.align and a model of phones"
            )
        return cls(readers, symbols, path, frozenset(levels) - frozenset(readers))

    from_cuts = from_manifest
    from_supervisions = from_manifest

    def __contains__(self, name: str) -> bool:
        """Whether there is an alignment of the utterance."""
        return name in self._utterances

    def phones(self, name: str) -> List[Interval]:
        """Its phones as aligned: stress kept, silence as SIL, an unknown word as SPN; seconds.

        Raises:
            ValueError: there is no alignment of it, or none that can be used; names it.
        """
        return self._aligned(name).phones

    def words(self, name: str) -> List[Interval]:
        """Its words; [] where the source has none. Raises as :meth:`phones`."""
        return self._aligned(name).words

    def samples(self, name: str, rate: int) -> Samples:
        """Its phones in samples of the given rate.

        Raises:
            ValueError: as :meth:`phones`; a phone that is no symbol, or that begins before the
                one before it ends.
        """
        phones = self.phones(name)
        try:
            classes = np.array([self._place(phone.text) for phone in phones], dtype=np.int64)
        except ValueError as error:
            raise ValueError(f"{name}: {error} ({self.source})") from None
        starts = _in_samples([phone.start for phone in phones], rate)
        ends = _in_samples([phone.end for phone in phones], rate)
        early = np.flatnonzero(starts[1:] < ends[:-1])
        if len(early):
            phone = phones[int(early[0]) + 1]
            raise ValueError(
                f"{name}: {phone.text} at {phone.start:g} s begins before the phone before it ends "
                f"({self.source})"
            )
        return Samples(classes, starts, ends)

    def frames(self, name: str, clock: FrameClock, num_frames: int, rate: int) -> torch.Tensor:
        """The class of each hidden frame.

        Args:
            clock: which sample a frame stands for, at ``rate``.

        Returns:
            (num_frames,) int64: places in ``symbols``, :data:`NOTHING` where no phone is known.

        Raises:
            ValueError: as :meth:`samples`.
        """
        classes, starts, ends = self.samples(name, rate)
        samples = clock.samples(num_frames).numpy()
        place = np.searchsorted(starts, samples, side="right") - 1
        inside = (place >= 0) & (samples < ends[place])
        return torch.from_numpy(np.where(inside, classes[place], NOTHING))

    def boundaries(self, name: str, rate: int) -> np.ndarray:
        """The samples at which a phone ends and the next begins, (N,) int64; neither the start
        of the first phone nor the end of the last; none within a silence. Raises as
        :meth:`samples`."""
        classes, starts, ends = self.samples(name, rate)
        silence = self._places[SILENCE]
        same = (classes[1:] == silence) & (classes[:-1] == silence) & (starts[1:] == ends[:-1])
        return np.unique(np.concatenate([starts[1:][~same], ends[:-1][~same]]))

    def _read(self, name: str) -> Aligned:
        if name not in self._utterances:
            raise ValueError(
                f"{name}: no phone alignment in {self.source}; align it (espnet_plugin.bin.align) "
                "or leave it out of the data"
            )
        try:
            aligned = self._utterances[name]()
        except (OSError, ValueError) as error:
            raise ValueError(f"{name}: {error} ({self.source})") from None
        if not aligned.phones:
            raise ValueError(f"{name}: its alignment has no phones ({self.source})")
        return aligned

    def _place(self, label: str) -> int:
        folded = fold_phone(label)
        if folded == UNKNOWN:
            return NOTHING
        if folded in self._places:
            return self._places[folded]
        if label not in self._places:
            raise ValueError(f"{label} has no stress; label with the 39 phones without it")
        return self._places[label]


def _in_samples(seconds: List[float], rate: int) -> np.ndarray:
    """The first sample at or after each time, by whole numbers."""
    nano = np.rint(np.array(seconds, dtype=np.float64) * _NANO).astype(np.int64)
    return -((_NANO // 1000 - nano * rate) // _NANO)


def _textgrid_reader(path: Path) -> Callable[[], Aligned]:
    def read() -> Aligned:
        tiers = read_textgrid(path)
        if "phones" not in tiers:
            listed = ", ".join(map(repr, tiers)) or "none"
            raise ValueError(f"{path} has no tier 'phones' (its tiers: {listed})")
        words = [interval for interval in tiers.get("words", []) if interval.text]
        return Aligned(phone_intervals(tiers["phones"]), words)

    return read


def _levels(path: PathLike) -> Dict[str, Tuple[float, Dict[str, List[Any]]]]:
    """Utterance -> its start in the times of its items, and these by level."""
    from lhotse import CutSet, SupervisionSet, load_manifest

    manifest = load_manifest(path)
    if not isinstance(manifest, (CutSet, SupervisionSet)):
        raise ValueError(f"it holds a {type(manifest).__name__}; name cuts with alignments")
    found: Dict[str, Tuple[float, Dict[str, List[Any]]]] = {}

    def keep(name: str, start: float, alignments: List[Dict[str, List[Any]]]) -> None:
        if name in found:
            raise ValueError(f"{name} is there twice")
        levels = {level for one in alignments for level in one}
        found[name] = start, {k: [i for one in alignments for i in one.get(k, [])] for k in levels}

    if not isinstance(manifest, CutSet):
        for segment in manifest:
            keep(segment.id, segment.start, [segment.alignment or {}])
        return found
    for cut in manifest:
        own = sorted(cut.supervisions, key=lambda segment: segment.start)
        keep(cut.id, 0.0, [segment.alignment or {} for segment in own])
        for segment in own:
            if segment.id != cut.id:
                keep(segment.id, segment.start, [segment.alignment or {}])
    return found


def _manifest_reader(start: float, alignment: Mapping[str, Any]) -> Callable[[], Aligned]:
    def intervals(level: str) -> List[Interval]:
        return [
            Interval(_exact(item.start, -start), _exact(item.start, item.duration, -start), symbol)
            for item in alignment.get(level, ())
            for symbol in [item.symbol]
        ]

    return lambda: Aligned(phone_intervals(intervals("phone")), intervals("word"))


def _exact(*seconds: float) -> float:
    """A sum of times to the nanosecond: 0.1 + 0.2 is 0.3."""
    return sum(round(value * _NANO) for value in seconds) / _NANO
