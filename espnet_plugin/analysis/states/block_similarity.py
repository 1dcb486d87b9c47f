"""Similarity of all pairs of a stack's hidden states, in one pass over the data.

Source: Dorszewski et al., ICASSP 2025 (arXiv 2409.16302); the measures are those of
:mod:`espnet_plugin.analysis.similarity`, in float64. Its samples were whole utterances of one
length. Here they are, for speech of any length [I], either the valid frames
(:class:`BlockSimilarity`) or each utterance's mean over its frames (:class:`PooledSimilarity`).

Frames are compared in pieces of an utterance of at most :data:`PIECE` frames: cosines are averaged
over all frames, neighbours are looked for within a piece, and the HSIC of the pieces is summed
before it is divided, so that unbiased CKA does not depend on their number (Nguyen, Raghu,
Kornblith 2021).
"""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from espnet_plugin.analysis.maps.pieces import Lengths
from espnet_plugin.analysis.states.pair_sums import LEAST, PairSums, pair_sums
from espnet_plugin.analysis.sums.wide_sum import WideSum

PIECE = 512
"""The most frames of a piece; its inner products are held for all states at once."""


class Similarities(NamedTuple):
    """The similarities of all pairs of S states, (S, S) float64 each."""

    values: Dict[str, Tensor]
    """``cosine``, ``linear_cka`` (unbiased), ``linear_cka_biased``, ``mutual_knn``. NaN only where
    ``reasons`` has a line about it."""
    sweep: Dict[int, Tensor]
    """Mutual k-NN for each k."""
    reasons: Dict[str, List[str]]
    """By measure, why it has no value for some pairs."""


class BlockSimilarity:
    """Similarities of all pairs of states over frames, mergeable over jobs.

    Memory is a fixed number of exact sums for each pair (:class:`WideSum`) and the utterances'
    names: any split into jobs gives the same bits.

    Args:
        neighbours: k of mutual k-NN; pieces with no more frames than that have no share in it.
            0: no k-NN.
        sweep: further k.

    Attributes:
        short: utterances with too few frames for k-NN or unbiased CKA, with the number.
    """

    def __init__(self, neighbours: int = 10, sweep: Sequence[int] = ()) -> None:
        self.neighbours = neighbours
        self.sweep = _all(neighbours, sweep)
        self.short: Dict[str, int] = {}
        self._names: Dict[str, int] = {}
        self._sum: Optional[WideSum] = None

    @property
    def utterances(self) -> List[str]:
        """Those that were compared."""
        return sorted(self._names)

    @property
    def frames(self) -> int:
        """How many valid frames they have."""
        return sum(self._names.values())

    @torch.no_grad()
    def update(self, names: Sequence[str], states: Sequence[Tensor], lengths: Lengths) -> None:
        """Compare the states of a batch.

        Args:
            names: of the utterances, B.
            states: (B, T, D) each, S of them, floating: what enters block 0 and what leaves each
                block, as :meth:`espnet_plugin.stacks.stack.Stack.forward` gives them.
            lengths: (B,) valid frames.

        Raises:
            ValueError: an utterance that was seen before; values that are not finite.
        """
        for row, (name, length) in enumerate(zip(names, map(int, lengths), strict=True)):
            if name in self._names:
                raise ValueError(f"{name}: its states were compared already")
            _check(name, states, row, length)
            for first, last in _cuts(length, max((*self.sweep, LEAST - 1))):
                found = _flat(pair_sums(_piece(states, row, first, last), self.sweep))
                self._sum = WideSum(found.shape) if self._sum is None else self._sum
                self._sum.add(found)
            self._names[name] = length
            if length <= max(self.neighbours, LEAST - 1):
                self.short[name] = length

    def merge(self, other: BlockSimilarity) -> None:
        """Add what another has compared.

        Raises:
            ValueError: it counts other neighbours, or has compared an utterance of ours.
        """
        _check_merge(self, other, self._names, other._names)
        self._names.update(other._names)
        self.short.update(other.short)
        if other._sum is not None:
            self._sum = WideSum(other._sum.shape) if self._sum is None else self._sum
            self._sum.merge(other._sum)

    def state_dict(self) -> Dict[str, Any]:
        """Everything; ``torch.save`` takes it."""
        return {
            "neighbours": self.neighbours,
            "sweep": list(self.sweep),
            "names": {name: self._names[name] for name in self.utterances},
            "sum": {} if self._sum is None else self._sum.state_dict(),
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace everything by what :meth:`state_dict` gave."""
        self.neighbours, self.sweep = int(state["neighbours"]), tuple(state["sweep"])
        self._names = dict(state["names"])
        least = max(self.neighbours, LEAST - 1)
        self.short = {name: length for name, length in self._names.items() if length <= least}
        self._sum = WideSum.from_state_dict(state["sum"]) if state["sum"] else None

    def measured(self) -> Similarities:
        """All measures, with the reasons for those that have no value.

        Raises:
            ValueError: nothing was compared.
        """
        if self._sum is None:
            raise ValueError("no hidden states were compared: there was no utterance")
        return _similarities(self._sum.total(), self.neighbours, self.sweep)

    def result(self) -> Dict[str, Tensor]:
        """``values`` of :class:`Similarities`, all of them.

        Raises:
            ValueError: nothing was compared, or a value does not exist; says why.
        """
        return _whole(self.measured())


class PooledSimilarity:
    """Similarities of all pairs of states, a sample being an utterance's mean over its frames.

    The means are kept, states × D × 8 bytes for each utterance; of more than ``most`` utterances
    those whose names have the smallest hash, a choice that no split into jobs changes.

    Args:
        neighbours, sweep: as for :class:`BlockSimilarity`.
        most: utterances that are kept.
    """

    short: Dict[str, int]
    """Always empty: every utterance has a mean."""

    def __init__(self, neighbours: int = 10, sweep: Sequence[int] = (), most: int = 1000) -> None:
        self.neighbours = neighbours
        self.sweep = _all(neighbours, sweep)
        if most < 2:
            raise ValueError(f"two utterances or more must be kept, not {most}")
        self.most = most
        self.short = {}
        self._means: Dict[str, Tensor] = {}
        self._names: Dict[str, int] = {}

    @property
    def utterances(self) -> List[str]:
        """Those that are compared."""
        return sorted(self._means)

    @property
    def frames(self) -> int:
        """How many valid frames they have."""
        return sum(self._names[name] for name in self._means)

    @torch.no_grad()
    def update(self, names: Sequence[str], states: Sequence[Tensor], lengths: Lengths) -> None:
        """Take in the states of a batch; see :meth:`BlockSimilarity.update`."""
        for row, (name, length) in enumerate(zip(names, map(int, lengths), strict=True)):
            if name in self._names:
                raise ValueError(f"{name}: its states were compared already")
            _check(name, states, row, length)
            self._names[name] = length
            means = [state[row, :length].double().mean(dim=0).cpu() for state in states]
            self._means[name] = torch.stack(means)
        self._cut()

    def merge(self, other: PooledSimilarity) -> None:
        """Add what another has taken in.

        Raises:
            ValueError: as :meth:`BlockSimilarity.merge`; or it keeps another number.
        """
        _check_merge(self, other, self._names, other._names)
        if self.most != other.most:
            raise ValueError(f"{other.most} kept utterances cannot be added to {self.most}")
        self._names.update(other._names)
        self._means.update(other._means)
        self._cut()

    def _cut(self) -> None:
        if len(self._means) > self.most:
            for name in sorted(self._means, key=_rank)[self.most :]:
                del self._means[name]

    def state_dict(self) -> Dict[str, Any]:
        """Everything; ``torch.save`` takes it."""
        names = self.utterances
        return {
            "neighbours": self.neighbours,
            "sweep": list(self.sweep),
            "most": self.most,
            "names": {name: self._names[name] for name in sorted(self._names)},
            "kept": names,
            "means": torch.stack([self._means[name] for name in names]) if names else {},
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace everything by what :meth:`state_dict` gave."""
        self.neighbours, self.sweep = int(state["neighbours"]), tuple(state["sweep"])
        self.most, self._names = int(state["most"]), dict(state["names"])
        self._means = dict(zip(state["kept"], state["means"], strict=True))

    def measured(self) -> Similarities:
        """As :meth:`BlockSimilarity.measured`."""
        if not self._means:
            raise ValueError("no hidden states were compared: there was no utterance")
        samples = torch.stack([self._means[name] for name in self.utterances], dim=1)
        found = _flat(pair_sums(samples, self.sweep))
        return _similarities(found, self.neighbours, self.sweep, "utterances")

    def result(self) -> Dict[str, Tensor]:
        """As :meth:`BlockSimilarity.result`."""
        return _whole(self.measured())


def _similarities(
    total: Tensor, neighbours: int, sweep: Sequence[int], samples: str = "frames"
) -> Similarities:
    count = len(sweep)
    cosine, angles, unbiased, biased = total[:4]
    shared, counted = total[4 : 4 + count], total[4 + count :]
    states = range(len(cosine))
    reasons: Dict[str, List[str]] = {}
    if not bool((angles > 0).all()):
        reasons["cosine"] = [f"two states have no {samples} in which both have an angle"]
    for name, hsic in (("linear_cka", unbiased), ("linear_cka_biased", biased)):
        for state in states:
            if float(biased[state, state]) <= 0:
                said = f"state {state} is the same in all {samples}, or there is one only: 0/0"
            elif float(hsic[state, state]) == 0:
                said = f"no piece of {LEAST} {samples} or more in which state {state} differs"
            elif float(hsic[state, state]) < 0:
                said = (
                    f"state {state}: the unbiased estimate of its norm is not positive; take more "
                    "speech"
                )
            else:
                continue
            reasons.setdefault(name, []).append(said)
    values = {
        "cosine": cosine / angles,
        "linear_cka": _normalised(unbiased),
        "linear_cka_biased": _normalised(biased),
    }
    by_k = {}
    for place, k in enumerate(sweep):
        by_k[k] = shared[place] / (k * counted[place])
        if bool(by_k[k].isnan().any()):
            name = "mutual_knn" if k == neighbours else f"mutual_knn k={k}"
            reasons[name] = [
                f"for some states no piece of more than {k} {samples} in which they differ"
            ]
    if neighbours:
        values["mutual_knn"] = by_k[neighbours]
    return Similarities(values, by_k, reasons)


def _normalised(hsic: Tensor) -> Tensor:
    own = hsic.diagonal()
    own = torch.where(own > 0, own, torch.full_like(own, math.nan)).sqrt()
    return hsic / torch.outer(own, own)


def _whole(found: Similarities) -> Dict[str, Tensor]:
    for name, reasons in found.reasons.items():
        if name in found.values:
            raise ValueError(f"{name}: {reasons[0]}")
    return found.values


def _flat(sums: PairSums) -> Tensor:
    return torch.cat([t.reshape(-1, *sums.cosine.shape) for t in sums])


def _all(neighbours: int, sweep: Sequence[int]) -> Tuple[int, ...]:
    every = {*sweep, neighbours} if neighbours else set(sweep)
    for k in every:
        if not 1 <= k <= PIECE // 2:
            raise ValueError(f"neighbours must be from 1 to {PIECE // 2}, not {k}")
    return tuple(sorted(every))


def _cuts(length: int, most: int) -> List[Tuple[int, int]]:
    """Pieces as equal as can be, of at most PIECE frames; of more than ``most`` where that can be
    had."""
    count = max(1, min(math.ceil(length / PIECE), length // (most + 1)))
    size, more = divmod(length, count)
    ends = [n * size + min(n, more) for n in range(count + 1)]
    return list(pairwise(ends))


def _piece(states: Sequence[Tensor], row: int, first: int, last: int) -> Tensor:
    """(S, frames, D) float64; written once."""
    like = states[0]
    piece = like.new_empty(len(states), last - first, like.size(2), dtype=torch.float64)
    for place, state in enumerate(states):
        piece[place] = state[row, first:last]
    return piece


def _check(name: str, states: Sequence[Tensor], row: int, length: int) -> None:
    if length < 1:
        raise ValueError(f"{name}: has no frame")
    for state in states:
        values = state[row, :length]
        # a finite sum has finite terms, and takes a fifth of the time; it may overflow without them
        if not bool(values.sum().isfinite()) and not bool(values.isfinite().all()):
            raise ValueError(f"{name}: its hidden states are not finite")


def _check_merge(ours: Any, other: Any, names: Dict[str, int], others: Dict[str, int]) -> None:
    if type(ours) is not type(other):
        raise ValueError("similarities of frames and of utterances cannot be added")
    if (other.neighbours, other.sweep) != (ours.neighbours, ours.sweep):
        raise ValueError(f"{other.neighbours} neighbours cannot be added to {ours.neighbours}")
    both = names.keys() & others.keys()
    if both:
        raise ValueError(f"{sorted(both)[0]}: compared twice ({len(both)} of them)")


def _rank(name: str) -> Tuple[bytes, str]:
    return hashlib.blake2b(name.encode(), digest_size=8).digest(), name
