"""Similarity of all pairs of a stack's hidden states, in one pass over the data.

Source: Dorszewski et al., ICASSP 2025 (arXiv 2409.16302); the measures are those of
:mod:`espnet_plugin.analysis.similarity`. Its samples were whole utterances of one length. Here they
are the valid frames, which fits speech of any length [I], in minibatches: pieces of an
utterance of at most :data:`PIECE` frames. Cosines are averaged over all frames, neighbours are
looked for within a piece, and the unbiased HSIC of the pieces is summed before it is divided, so
that CKA's estimate does not depend on their number (Nguyen, Raghu, Kornblith 2021).
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Sequence

import torch
from torch import Tensor

from espnet_plugin.analysis.pieces import Lengths

PIECE = 512
"""The most frames of a piece; its inner products are held for all states at once."""
LEAST = 4
"""The fewest frames for which unbiased HSIC is defined."""


class BlockSimilarity:
    """Similarities of all pairs of states, mergeable over jobs.

    A few numbers are kept for each utterance and pair, under the utterance's name; results are
    exact sums over them, so any split into jobs gives the same bits.

    Args:
        neighbours: k of mutual k-NN. A piece needs more frames than that.

    Attributes:
        skipped: utterances with too few frames, with the number.
    """

    def __init__(self, neighbours: int = 10) -> None:
        if neighbours < 1:
            raise ValueError(f"neighbours must be 1 or above, not {neighbours}")
        self.neighbours = neighbours
        self.skipped: Dict[str, int] = {}
        self._sums: Dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, names: Sequence[str], states: Sequence[Tensor], lengths: Lengths) -> None:
        """Compare the states of a batch.

        Args:
            names: of the utterances, B.
            states: (B, T, D) each, S of them, floating: what enters block 0 and what leaves each
                block, as :meth:`espnet_plugin.stacks.stack.Stack.forward` gives them.
            lengths: (B,) valid frames.

        Raises:
            ValueError: an utterance that was seen before; values that are not finite; a state
                that is the same in all frames of a piece, whose CKA would be 0/0.
        """
        for row, (name, length) in enumerate(zip(names, _numbers(lengths), strict=True)):
            if name in self._sums or name in self.skipped:
                raise ValueError(f"{name}: its states were compared already")
            if length <= max(self.neighbours, LEAST - 1):
                self.skipped[name] = length
                continue
            whole = torch.stack([state[row, :length].double() for state in states])
            if not bool(torch.isfinite(whole).all()):
                raise ValueError(f"{name}: its hidden states are not finite")
            pieces = _cut(whole, self.neighbours)
            try:
                found = [_compare(piece, self.neighbours) for piece in pieces]
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            self._sums[name] = torch.stack(found).sum(dim=0)

    def merge(self, other: BlockSimilarity) -> None:
        """Add what another has compared.

        Raises:
            ValueError: it counts other neighbours, or has compared an utterance of ours.
        """
        if other.neighbours != self.neighbours:
            raise ValueError(f"{other.neighbours} neighbours cannot be added to {self.neighbours}")
        both = {*self._sums, *self.skipped} & {*other._sums, *other.skipped}
        if both:
            raise ValueError(f"{sorted(both)[0]}: compared twice ({len(both)} of them)")
        self._sums.update(other._sums)
        self.skipped.update(other.skipped)

    def state_dict(self) -> Dict[str, Any]:
        """Everything; ``torch.save`` takes it."""
        return {"neighbours": self.neighbours, "skipped": self.skipped, "sums": dict(self._sums)}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace everything by what :meth:`state_dict` gave."""
        self.neighbours = int(state["neighbours"])
        self.skipped, self._sums = dict(state["skipped"]), dict(state["sums"])

    @property
    def utterances(self) -> List[str]:
        """Those that were compared."""
        return sorted(self._sums)

    def result(self) -> Dict[str, Tensor]:
        """(S, S) float64 each: ``cosine``, ``linear_cka``, ``linear_cka_biased``, ``mutual_knn``.

        Raises:
            ValueError: nothing was compared; a pair without a frame in which both states have an
                angle; an unbiased estimate of a norm that is not positive.
        """
        if not self._sums:
            short = f" ({len(self.skipped)} have too few frames)" if self.skipped else ""
            raise ValueError(f"no hidden states were compared: there was no utterance{short}")
        total = _exact_sum([self._sums[name] for name in self.utterances])
        cosine, angles, unbiased, biased, shared, frames = total
        if not bool((angles > 0).all()):
            raise ValueError("two states have no frame in which both have an angle")
        return {
            "cosine": cosine / angles,
            "linear_cka": _normalised(unbiased),
            "linear_cka_biased": _normalised(biased),
            "mutual_knn": shared / (self.neighbours * frames),
        }


def _cut(whole: Tensor, neighbours: int) -> Sequence[Tensor]:
    """(S, T, D) in pieces as equal as can be, of at most PIECE frames, or of as many as needed."""
    least = max(neighbours + 1, LEAST)
    count = max(1, min(math.ceil(whole.shape[1] / PIECE), whole.shape[1] // least))
    return torch.tensor_split(whole, count, dim=1)


def _compare(piece: Tensor, neighbours: int) -> Tensor:
    """The sums of one piece (S, n, D): (6, S, S); see :meth:`BlockSimilarity.result`."""
    states, count, _ = piece.shape
    norms = piece.norm(dim=-1, keepdim=True)
    there = (norms > 0).double().flatten(1)
    unit = (piece / norms.clamp(min=torch.finfo(torch.float64).tiny)).flatten(1)

    centred = piece - piece.mean(dim=1, keepdim=True)
    constant = centred.abs().amax((1, 2)) <= 1e-12 * piece.abs().amax((1, 2))
    if bool(constant.any()):
        number = int(constant.nonzero()[0])
        raise ValueError(f"state {number} is the same in all frames: its CKA is 0/0")
    gram = centred @ centred.transpose(1, 2)
    biased = gram.flatten(1) @ gram.flatten(1).T
    diagonal = gram.diagonal(dim1=1, dim2=2)
    rows = -diagonal  # of centred inner products without their diagonal
    sums = rows.sum(dim=1)
    unbiased = (
        biased
        - diagonal @ diagonal.T
        + torch.outer(sums, sums) / ((count - 1) * (count - 2))
        - 2 * (rows @ rows.T) / (count - 2)
    ) / (count * (count - 3))

    near = torch.zeros(gram.shape, dtype=torch.float32, device=gram.device)
    products = piece @ piece.transpose(1, 2)
    products.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    near.scatter_(2, products.topk(neighbours, dim=2).indices, 1.0)
    flat = near.flatten(1)
    shared = torch.stack([(flat * one).sum(dim=1, dtype=torch.float64) for one in flat])

    frames = torch.full((states, states), float(count), dtype=torch.float64, device=piece.device)
    found = (unit @ unit.T, there @ there.T, unbiased, biased / (count - 1) ** 2, shared, frames)
    return torch.stack(found).cpu()


def _exact_sum(values: Sequence[Tensor]) -> Tensor:
    """The sum of tensors, rounded once, whatever their order."""
    columns = torch.stack(list(values)).flatten(1).T.tolist()
    total = torch.tensor([math.fsum(column) for column in columns], dtype=torch.float64)
    return total.reshape(values[0].shape)


def _normalised(hsic: Tensor) -> Tensor:
    own = hsic.diagonal()
    if not bool((own > 0).all()):
        raise ValueError("the unbiased estimate of a norm is not positive: take more speech")
    return hsic / torch.sqrt(torch.outer(own, own))


def _numbers(lengths: Lengths) -> List[int]:
    return [int(length) for length in lengths]
