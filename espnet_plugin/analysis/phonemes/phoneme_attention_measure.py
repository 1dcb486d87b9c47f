"""The measure ``phoneme_attention`` of the analysis suite."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from espnet_plugin.analysis.phoneme import (
    LabelledFrames,
)
from espnet_plugin.analysis.phonemes.by_phone import ByPhone, given, number_or_none
from espnet_plugin.analysis.phonemes.frames import FrameClock
from espnet_plugin.analysis.phonemes.labels import PhoneLabels
from espnet_plugin.analysis.phonemes.phone_kinds import KINDS, pair_kinds, pair_places
from espnet_plugin.analysis.suite.measure import Context
from espnet_plugin.analysis.sums.resample import mean_intervals, ratio_intervals

_SHIM = "Shim, Choi, Sung, ICLR 2022"
_SOURCE_OF_KINDS = {
    "mark": "I",
    "unit": "uniform attention = 1",
    "source": "mean over pairs of classes of this kind, then over utterances; " + _SHIM,
}


def make(context: Context) -> PhonemeAttention:
    """The measure of a model."""
    return PhonemeAttention(*given(context))


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
            pairs.append([*place, *map(number_or_none, both)])
        return {"": rows, "voicing_pairs": pairs}

    def _stacked(self) -> Tuple[List[str], np.ndarray]:
        """The utterances in order of name, and their values (U, N, 4)."""
        names = sorted(self.values)
        stacked = [torch.cat([self.values[n][b] for b in self.leaders]) for n in names]
        if not stacked:
            return names, np.zeros((0, len(self.rows), len(KINDS)))
        return names, torch.stack(stacked).numpy()


def _interval(mean: float, low: float, high: float) -> Dict[str, Any]:
    if mean != mean:
        reason = "no utterance has such pairs of frames"
        return {"mean": None, "interval_95": None, "reason": reason}
    return {"mean": float(mean), "interval_95": [float(low), float(high)]}
