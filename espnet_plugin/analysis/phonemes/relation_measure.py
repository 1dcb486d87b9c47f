"""The measure ``relation`` of the analysis suite."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from espnet_plugin.analysis.phoneme import (
    LabelledFrames,
    concentration,
    relation,
)
from espnet_plugin.analysis.phonemes.by_phone import ByPhone, given, number_or_none
from espnet_plugin.analysis.phonemes.frames import FrameClock
from espnet_plugin.analysis.phonemes.labels import PhoneLabels
from espnet_plugin.analysis.phonemes.phone_kinds import KINDS, pair_kinds
from espnet_plugin.analysis.suite.measure import Context
from espnet_plugin.analysis.sums.exact_sum import ExactSum

FINEST = 0.02
"""Seconds: where frames are longer, relation maps take labels that are finer than the frames."""
LEAST_SHARE = 0.005
"""A class must have so much of the labels to be named as what a head focuses on."""

_YANG = "Yang, Liu, Lee, Interspeech 2020, arXiv 2006.03265"
_SOURCE_OF_SHARES = {
    "mark": "I",
    "unit": "uniform attention = 1",
    "source": "attention between classes of this kind over that of a uniform map; neighbours count",
}


def make(context: Context) -> Relation:
    """The measure of a model."""
    return Relation(*given(context))


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
            shares = {k: number_or_none(values[n] / under[n]) for n, k in enumerate(KINDS)}
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
