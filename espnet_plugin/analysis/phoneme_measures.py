"""The measures ``relation`` and ``phoneme_attention`` of the analysis suite."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from espnet_plugin.analysis.exact_sum import ExactSum
from espnet_plugin.analysis.frames import FrameClock
from espnet_plugin.analysis.labels import PhoneLabels
from espnet_plugin.analysis.measure import MAPS, Context, Utterances
from espnet_plugin.analysis.phone_kinds import KINDS, pair_kinds, pair_places
from espnet_plugin.analysis.phoneme import (
    LabelledFrames,
    concentration,
    label_frames,
    relation,
    valid,
)
from espnet_plugin.analysis.resample import mean_intervals, ratio_intervals

FINEST = 0.02
"""Seconds: where frames are longer, relation maps take labels that are finer than the frames."""
LEAST_SHARE = 0.005
"""A class must have so much of the labels to be named as what a head focuses on."""

_YANG = "Yang, Liu, Lee, Interspeech 2020, arXiv 2006.03265"
_SHIM = "Shim, Choi, Sung, ICLR 2022"


def make_relation(context: Context) -> Relation:
    """The measure ``relation`` of a model."""
    return Relation(*_given(context))


def make_attention(context: Context) -> PhonemeAttention:
    """The measure ``phoneme_attention`` of a model."""
    return PhonemeAttention(*_given(context))


def _given(context: Context) -> Tuple[List[int], List[int], FrameClock, PhoneLabels]:
    assert context.alignments is not None  # the registry sees to that
    encoder = context.encoder
    return encoder.leaders, encoder.heads, encoder.clock, context.alignments


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
        """See :class:`espnet_plugin.analysis.measure.Measure`.

        Raises:
            ValueError: an utterance that the alignments do not name, or for the second time.
        """
        for name in utterances.names:
            if name in self.seen:
                raise ValueError(f"{name}: measured before")
            self.seen[name] = name not in self.labels.without
        self._utterances, self._frames = utterances, None

    def look(self, block: int, maps: Tensor, lengths: Tensor) -> None:
        """See :class:`espnet_plugin.analysis.measure.Measure`."""
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


class Relation(ByPhone):
    """Phoneme relation maps of all heads; arguments as :class:`ByPhone`.

    Labels are finer than the frames where these are longer than :data:`FINEST`.
    """

    name = "relation"

    def __init__(
        self, leaders: Sequence[int], heads: Sequence[int], clock: FrameClock, labels: PhoneLabels
    ) -> None:
        super().__init__(leaders, heads, clock, labels)
        self.uniform = ExactSum((self.classes, self.classes))
        self.counts = torch.zeros(self.classes, dtype=torch.int64)
        """Labels of each class."""
        self.labels_per_frame = 0

    def factor(self, rate: int) -> int:
        """The smallest that divides the shift and makes labels no coarser than FINEST."""
        shift = self.clock.shift
        self.labels_per_frame = next(
            f for f in range(1, shift + 1) if shift % f == 0 and shift / f <= FINEST * rate
        )
        return self.labels_per_frame

    def count(self, utterances: Sequence[LabelledFrames]) -> None:
        """The uniform maps, and how many labels there are."""
        for own in utterances:
            self.uniform.add(own.uniform[None])
            self.counts = self.counts + own.sizes.long().cpu()

    def update(self, block: int, pairs: Sequence[Tuple[Tensor, LabelledFrames]]) -> None:
        """See :class:`ByPhone`."""
        found = [u.attended(maps) / (u.frames * u.factor**2) for maps, u in pairs]
        self.sums[block].add(torch.stack(found))

    def merge(self, other: Relation) -> None:
        """Add what another has measured."""
        super().merge(other)
        self.uniform.merge(other.uniform)
        self.counts = self.counts + other.counts
        self.labels_per_frame = self.labels_per_frame or other.labels_per_frame

    def state_dict(self) -> Dict[str, Any]:
        """Everything."""
        more = {"counts": self.counts, "labels_per_frame": self.labels_per_frame}
        return {**super().state_dict(), "uniform": self.uniform.state_dict(), **more}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace everything by what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self.uniform = ExactSum.from_state_dict(state["uniform"])
        self.counts = state["counts"]
        self.labels_per_frame = int(state["labels_per_frame"])

    def attended(self) -> Tuple[Tensor, Tensor]:
        """P' (N, C, C) of the heads and P_U (C, C), means over utterances, float64.

        Raises:
            ValueError: no utterance with an alignment.
        """
        if not self.uniform.count:
            raise ValueError("relation: no utterance has a phone alignment")
        return torch.cat([self.sums[block].mean() for block in self.leaders]), self.uniform.mean()

    def result(self) -> Dict[str, Any]:
        """See docs/phonemes.md."""
        attended, uniform = self.attended()
        focus = concentration(relation(attended, uniform))
        kinds = pair_kinds(self.labels.symbols).double()
        over = torch.einsum("npq,kpq->nk", attended, kinds)
        under = (uniform * kinds).sum((1, 2))
        often = self.counts >= LEAST_SHARE * self.counts.sum()
        found = []
        for row, values in zip(focus, over, strict=True):
            shares = {k: _number(values[n] / under[n]) for n, k in enumerate(KINDS)}
            found.append({**shares, **self._extremes(row, often)})
        counts = dict(zip(self.labels.symbols, self.counts.tolist(), strict=True))
        sources = {
            "relation": {"mark": "P", "unit": "1", "source": _YANG},
            "concentration": {"mark": "P", "unit": "1", "source": _YANG},
            **{kind: _SOURCE_OF_SHARES for kind in KINDS},
        }
        more = {"labels_per_frame": self.labels_per_frame, "labels": counts}
        return {**self._head(sources), **more, "blocks": self._blocks(found)}

    def _extremes(self, row: Tensor, often: Tensor) -> Dict[str, Any]:
        """The classes with the largest and smallest concentration, and the larger of the two."""
        row = row.where(often, row.new_tensor(torch.nan))
        if bool(row.isnan().all()):
            nobody = {"class": None, "concentration": None, "reason": "no class occurs"}
            return {"focus": nobody, "neglect": nobody, "extreme": None}
        high = int(row.nan_to_num(-torch.inf).argmax())
        low = int(row.nan_to_num(torch.inf).argmin())
        ends = {
            name: {"class": self.labels.symbols[place], "concentration": float(row[place])}
            for name, place in (("focus", high), ("neglect", low))
        }
        return {**ends, "extreme": "focus" if row[high] >= -row[low] else "neglect"}

    def arrays(self) -> Dict[str, np.ndarray]:
        """``relation``, ``attended`` (N, C, C), ``uniform`` (C, C), ``concentration`` (N, C) and
        ``labels`` (C,), with ``block``, ``head`` (N,) and ``symbols`` (C,)."""
        attended, uniform = self.attended()
        relations = relation(attended, uniform)
        return {
            **self._places(),
            "relation": relations.numpy(),
            "attended": attended.numpy(),
            "uniform": uniform.numpy(),
            "concentration": concentration(relations).numpy(),
            "labels": self.counts.numpy(),
        }

    def tables(self) -> Dict[str, List[List[Any]]]:
        """Heads, and the concentration of each on each class."""
        ends = ("focus", "neglect")
        rows: List[List[Any]] = [["block", "head", *KINDS]]
        rows[0] += [column for end in ends for column in (end, f"{end}_concentration")]
        for block in self.result()["blocks"]:
            for one in block["heads"]:
                cells = [block["block"], one["head"], *(one[kind] for kind in KINDS)]
                rows.append(cells + [one[end][key] for end in ends
                                     for key in ("class", "concentration")])  # fmt: skip
        focus = concentration(relation(*self.attended())).tolist()
        table: List[List[Any]] = [["block", "head", *self.labels.symbols]]
        for place, values in zip(self.rows, focus, strict=True):
            table.append([*place, *(None if v != v else v for v in values)])
        return {"": rows, "concentration": table}


class PhonemeAttention(ByPhone):
    """The phoneme attention relationship of all heads; arguments as :class:`ByPhone`."""

    name = "phoneme_attention"
    _UNIT = 2.0**-4
    """Sums are of multiples of it, since T times a weight may exceed what they take; exact."""

    def __init__(
        self, leaders: Sequence[int], heads: Sequence[int], clock: FrameClock, labels: PhoneLabels
    ) -> None:
        super().__init__(leaders, heads, clock, labels)
        self.counts = torch.zeros(self.classes, self.classes, dtype=torch.int64)
        """Utterances with such pairs of frames."""
        self.values: Dict[str, Dict[int, Tensor]] = {}
        """Utterance -> block -> (H, 4): the mean over pairs of classes of each kind, NaN where it
        has none."""
        self._kinds = pair_kinds(labels.symbols).flatten(1).double()

    def update(self, block: int, pairs: Sequence[Tuple[Tensor, LabelledFrames]]) -> None:
        """See :class:`ByPhone`."""
        found = torch.stack([u.relationship(maps) for maps, u in pairs]).cpu()
        there = ~found.isnan()
        self.sums[block].add(found.nan_to_num(0.0) * self._UNIT)
        if block == self.leaders[0]:
            self.counts = self.counts + there[:, 0].long().sum(0)
        counts = there[:, :1].flatten(2).double() @ self._kinds.T
        means = found.nan_to_num(0.0).flatten(2) @ self._kinds.T / counts  # 0/0: none of a kind
        names = [n for n in self._utterances.names if self.seen[n]]
        for name, own in zip(names, means, strict=True):
            self.values.setdefault(name, {})[block] = own.clone()

    def merge(self, other: PhonemeAttention) -> None:
        """Add what another has measured."""
        super().merge(other)
        self.counts = self.counts + other.counts
        self.values.update(other.values)

    def state_dict(self) -> Dict[str, Any]:
        """Everything."""
        names, values = self._stacked()
        more = {"counts": self.counts, "names": names, "values": torch.from_numpy(values)}
        return {**super().state_dict(), **more}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace everything by what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self.counts = state["counts"]
        sizes = [self.heads[block] for block in self.leaders]
        self.values = {
            name: dict(zip(self.leaders, own.split(sizes), strict=True))
            for name, own in zip(state["names"], state["values"], strict=True)
        }

    def relationship(self) -> Tensor:
        """(N, C, C) float64, means over utterances; NaN where no utterance has such frames.

        Raises:
            ValueError: no utterance with an alignment.
        """
        if not self.values:
            raise ValueError("phoneme_attention: no utterance has a phone alignment")
        total = [self.sums[b].mean() * self.sums[b].count / self._UNIT for b in self.leaders]
        return torch.cat(total) / self.counts.where(self.counts > 0, torch.tensor(torch.nan))

    def result(self) -> Dict[str, Any]:
        """See docs/phonemes.md."""
        self.relationship()
        values = self._stacked()[1]
        means, low, high = mean_intervals(values)
        same, other = (values[..., KINDS.index(kind)] for kind in ("same", "other"))
        ratio, below, above = ratio_intervals(same, other)
        found = []
        for n in range(len(self.rows)):
            one: Dict[str, Any] = {
                kind: _interval(means[n, k], low[n, k], high[n, k]) for k, kind in enumerate(KINDS)
            }
            one["localisation"] = _interval(ratio[n], below[n], above[n])
            found.append(one)
        sources = {
            "relationship": {"mark": "P", "unit": "uniform attention = 1", "source": _SHIM},
            **{kind: _SOURCE_OF_KINDS for kind in KINDS},
            "localisation": {
                "mark": "I",
                "unit": "1",
                "source": "same / other, of a block after the mean over its heads; phonetic "
                "localisation in figures, after " + _SHIM,
            },
        }
        blocks = self._blocks(found)
        sizes = [self.heads[block] for block in self.leaders]
        parts = [np.split(one, np.cumsum(sizes)[:-1], axis=1) for one in (same, other)]
        for one, over, under in zip(blocks, *parts, strict=True):
            figures = ratio_intervals(over.mean(1), under.mean(1))
            one["localisation"] = _interval(*(float(figure) for figure in figures))
        return {**self._head(sources), "blocks": blocks}

    def arrays(self) -> Dict[str, np.ndarray]:
        """``relationship`` (N, C, C), ``pair_utterances`` (C, C), and per utterance ``values``
        (U, N, 4), with ``block``, ``head`` (N,), ``symbols`` (C,), ``utterances`` (U,) and
        ``kinds`` (4,)."""
        names, values = self._stacked()
        return {
            **self._places(),
            "relationship": self.relationship().numpy(),
            "pair_utterances": self.counts.numpy(),
            "values": values,
            "utterances": np.array(names),
            "kinds": np.array(KINDS),
        }

    def tables(self) -> Dict[str, List[List[Any]]]:
        """Heads, and how much each attends between the phones of a voicing pair."""
        columns = (*KINDS, "localisation")
        rows: List[List[Any]] = [["block", "head"]]
        rows[0] += [cell for c in columns for cell in (c, f"{c}_low", f"{c}_high")]
        for block in self.result()["blocks"]:
            for one in block["heads"]:
                cells = [
                    cell
                    for c in columns
                    for cell in (one[c]["mean"], *(one[c]["interval_95"] or (None, None)))
                ]
                rows.append([block["block"], one["head"], *cells])
        places, found = pair_places(self.labels.symbols), self.relationship()
        pairs: List[List[Any]] = [["block", "head", *places]]
        for place, matrix in zip(self.rows, found, strict=True):
            both = [torch.stack([matrix[p, q], matrix[q, p]]).nanmean() for p, q in places.values()]
            pairs.append([*place, *map(_number, both)])
        return {"": rows, "voicing_pairs": pairs}

    def _stacked(self) -> Tuple[List[str], np.ndarray]:
        """The utterances in order of name, and their values (U, N, 4)."""
        names = sorted(self.values)
        stacked = [torch.cat([self.values[n][b] for b in self.leaders]) for n in names]
        if not stacked:
            return names, np.zeros((0, len(self.rows), len(KINDS)))
        return names, torch.stack(stacked).numpy()


_SOURCE_OF_SHARES = {
    "mark": "I",
    "unit": "uniform attention = 1",
    "source": "attention between classes of this kind over that of a uniform map; neighbours count",
}
_SOURCE_OF_KINDS = {
    "mark": "I",
    "unit": "uniform attention = 1",
    "source": "mean over pairs of classes of this kind, then over utterances; " + _SHIM,
}


def _number(value: Any) -> Optional[float]:
    return None if value != value else float(value)


def _interval(mean: float, low: float, high: float) -> Dict[str, Any]:
    if mean != mean:
        reason = "no utterance has such pairs of frames"
        return {"mean": None, "interval_95": None, "reason": reason}
    return {"mean": float(mean), "interval_95": [float(low), float(high)]}
