"""What measures of attention between phonemes have in common."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from espnet_plugin.analysis.phoneme import (
    LabelledFrames,
    label_frames,
    valid,
)
from espnet_plugin.analysis.phonemes.frames import FrameClock
from espnet_plugin.analysis.phonemes.labels import PhoneLabels
from espnet_plugin.analysis.suite.measure import MAPS, Context, Utterances
from espnet_plugin.analysis.sums.exact_sum import ExactSum


class ByPhone:
    """What measures of attention between phonemes have in common: labels, and who was seen.

    Args:
        leaders: the blocks with a map of their own.
        heads: of each block.
        clock: which samples the frames stand for.
        labels: the alignments.
    """

    name: str
    wants: FrozenSet[str] = frozenset({MAPS})

    def __init__(
        self, leaders: Sequence[int], heads: Sequence[int], clock: FrameClock, labels: PhoneLabels
    ) -> None:
        self.leaders, self.heads = list(leaders), list(heads)
        self.clock, self.labels, self.classes = clock, labels, len(labels.symbols)
        self.seen: Dict[str, bool] = {}
        """Utterance -> whether it has an alignment."""
        c = self.classes
        self.sums = {block: ExactSum((self.heads[block], c, c)) for block in self.leaders}
        self._utterances = Utterances([], torch.zeros(0, dtype=torch.int64), 1, torch.zeros(0, 0))
        self._frames: Optional[List[Optional[LabelledFrames]]] = None

    def factor(self, rate: int) -> int:
        """Labels per frame."""
        return 1

    def begin(self, utterances: Utterances) -> None:
        """See :class:`espnet_plugin.analysis.suite.measure.Measure`.

        Raises:
            ValueError: an utterance that the alignments do not name, or for the second time.
        """
        for name in utterances.names:
            if name in self.seen:
                raise ValueError(f"{name}: measured before")
            self.seen[name] = name not in self.labels.without
        self._utterances, self._frames = utterances, None

    def look(self, block: int, maps: Tensor, lengths: Tensor) -> None:
        """See :class:`espnet_plugin.analysis.suite.measure.Measure`."""
        if self._frames is None:
            self._frames = self._label(lengths, maps.device)
            self.count([u for u in self._frames if u is not None])
        pairs = valid(maps, self._frames)
        if pairs:
            self.update(block, pairs)

    def count(self, utterances: Sequence[LabelledFrames]) -> None:
        """Take in what does not depend on the block."""

    def update(self, block: int, pairs: Sequence[Tuple[Tensor, LabelledFrames]]) -> None:
        """Take in the maps (H, T, T) of utterances with labels."""
        raise TypeError(f"{type(self).__name__} does not say what it sums")

    def end(self, states: Sequence[Tensor], lengths: Tensor) -> None:
        """Nothing to do."""

    def merge(self, other: Any) -> None:
        """Add what another has measured.

        Raises:
            ValueError: an utterance that both have seen.
        """
        both = sorted(self.seen.keys() & other.seen.keys())
        if both:
            raise ValueError(f"{both[0]}: measured twice")
        self.seen.update(other.seen)
        for block, sums in other.sums.items():
            self.sums[block].merge(sums)

    def state_dict(self) -> Dict[str, Any]:
        """Everything."""
        sums = {str(block): sums.state_dict() for block, sums in self.sums.items()}
        return {"seen": {name: int(done) for name, done in self.seen.items()}, "sums": sums}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace everything by what :meth:`state_dict` gave."""
        self.seen = {name: bool(done) for name, done in state["seen"].items()}
        self.sums = {int(b): ExactSum.from_state_dict(s) for b, s in state["sums"].items()}

    @property
    def rows(self) -> List[Tuple[int, int]]:
        """Block and head of each head with a map of its own."""
        return [(block, head) for block in self.leaders for head in range(self.heads[block])]

    def _label(self, lengths: Tensor, device: torch.device) -> List[Optional[LabelledFrames]]:
        rate = self._utterances.rate
        factor = self.factor(rate)
        clock = self.clock.finer(factor)
        found: List[Optional[LabelledFrames]] = []
        for name, length in zip(self._utterances.names, lengths.tolist(), strict=True):
            own = None
            if self.seen[name]:
                labels = self.labels.frames(name, clock, length * factor, rate).to(device)
                own = label_frames(torch.tensor([length]), length, labels[None], self.classes)[0]
            found.append(own)
        return found

    def _head(self, sources: Dict[str, Any]) -> Dict[str, Any]:
        without = sorted(name for name, aligned in self.seen.items() if not aligned)
        return {
            "sources": sources,
            "symbols": list(self.labels.symbols),
            "utterances": len(self.seen) - len(without),
            "without_alignment": without,
        }

    def _places(self) -> Dict[str, np.ndarray]:
        rows = np.array(self.rows, dtype=np.int64).reshape(-1, 2)
        return {"block": rows[:, 0], "head": rows[:, 1], "symbols": np.array(self.labels.symbols)}

    def _blocks(self, found: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
        heads: Dict[int, List[Dict[str, Any]]] = {block: [] for block in self.leaders}
        for (block, head), one in zip(self.rows, found, strict=True):
            heads[block].append({"head": head, **one})
        return [{"block": block, "heads": heads[block]} for block in self.leaders]


def given(context: Context) -> Tuple[List[int], List[int], FrameClock, PhoneLabels]:
    """What a measure is made from: leaders, heads, clock, labels."""
    assert context.alignments is not None  # the registry sees to that
    encoder = context.encoder
    return encoder.leaders, encoder.heads, encoder.clock, context.alignments


def number_or_none(value: Any) -> Optional[float]:
    """A plain number; None for NaN."""
    return None if value != value else float(value)
