"""Which phonemes attention connects: relation maps, concentration, phoneme attention relationship.

Maps are (B, H, T, T), rows are queries and sum to 1; lengths (B,) are the valid frames; labels
(B, T), whole numbers, hold the phoneme class of each frame, -1 where none is known. Labels may be
finer by a whole factor f, (B, T f): the map counts then as duplicated f times on both axes, its
rows renormalised, which no map of that size is made for. What lies beyond an utterance's length
never counts, whatever it is. Frames without a class belong to no class, but stay frames: T counts
them.

Precision as in :mod:`espnet_plugin.analysis.attention`: float64 maps are summed in float64, other
types in float32 with float64 sums over frames.

Sources: relation map, concentration: Yang, Liu, Lee, "Understanding Self-Attention of
Self-Supervised Audio Transformers", Interspeech 2020 (arXiv 2006.03265). Phoneme attention
relationship: Shim, Choi, Sung, "Understanding the Role of Self Attention for Efficient Speech
Recognition", ICLR 2022.
"""

from __future__ import annotations

from functools import cached_property
from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from espnet_plugin.analysis.maps.pieces import Lengths, check_maps


class RelationSums(NamedTuple):
    """Of each utterance, float64; each sums to the share of frames with a class (squared)."""

    attended: Tensor
    """P' (B, H, C, C): the share of attention from class m to class n."""
    uniform: Tensor
    """P_U (B, C, C): the same of a uniform map."""


def phoneme_relation_map(
    maps: Tensor, lengths: Lengths, labels: Tensor, num_classes: int
) -> Tensor:
    """P = (P' - P_U) / P_U over a batch of utterances [P].

    P'[m, n] is the mean over utterances of (1/T) Σ_q Σ_k 1(y_q = m) 1(y_k = n) A[q, k], and P_U
    that of a uniform map. 0: as uniform attention; above: the head prefers class n when at class
    m; -1: never.

    Args:
        maps: (B, H, T, T), any floating type, any device.
        lengths: (B,) valid frames, 1 to T.
        labels: (B, T) or (B, T f), classes from 0 to num_classes - 1, or -1.
        num_classes: C.

    Returns:
        (H, C, C) float64; NaN where a class does not occur.

    Raises:
        TypeError, ValueError: shapes, types, lengths or labels that do not fit.
    """
    attended, uniform = relation_sums(maps, lengths, labels, num_classes)
    return relation(attended.mean(0), uniform.mean(0))


def relation_sums(maps: Tensor, lengths: Lengths, labels: Tensor, num_classes: int) -> RelationSums:
    """P' and P_U of each utterance. Arguments as :func:`phoneme_relation_map`."""
    lengths = check_maps(maps, lengths)
    utterances = label_frames(lengths, maps.shape[-1], labels, num_classes)
    attended = [u.attended(m) / (u.frames * u.factor**2) for m, u in valid(maps, utterances)]
    uniform = [u.uniform for u in utterances]
    if not attended:
        shape = (0, maps.shape[1], num_classes, num_classes)
        return RelationSums(maps.new_zeros(shape).double(), maps.new_zeros(shape[:1] + shape[2:]))
    return RelationSums(torch.stack(attended), torch.stack(uniform))


def relation(attended: Tensor, uniform: Tensor) -> Tensor:
    """(P' - P_U) / P_U; (…, C, C) and (C, C) give (…, C, C), NaN where P_U is 0."""
    return (attended - uniform) / uniform.where(uniform > 0, uniform.new_tensor(torch.nan))


def concentration(relations: Tensor) -> Tensor:
    """C[n] = mean over m of P[m, n]: above 0 the head focuses on class n, below it neglects it [P].

    Args:
        relations: (…, C, C), as of :func:`phoneme_relation_map`.

    Returns:
        (…, C); NaN for a class that does not occur.
    """
    return relations.nanmean(-2)


def phoneme_attention_relationship(
    maps: Tensor, lengths: Lengths, labels: Tensor, num_classes: int
) -> Tensor:
    """How much a frame of class p attends to a frame of class q, times uniform attention [P].

    P[p, q] is T times the mean over frames i of class p of the mean over frames j of class q of
    A[i, j], without those j that are joined to i by an unbroken run of class q: neighbours
    resemble each other in position too. Sets that are empty are skipped. Mean over utterances.

    Arguments as :func:`phoneme_relation_map`.

    Returns:
        (H, C, C) float64: 1 as uniform attention; NaN where no utterance has such frames.
    """
    return phoneme_attention(maps, lengths, labels, num_classes).nanmean(0)


def phoneme_attention(maps: Tensor, lengths: Lengths, labels: Tensor, num_classes: int) -> Tensor:
    """The same of each utterance, (B, H, C, C) float64, NaN where it has no such frames.

    Arguments as :func:`phoneme_relation_map`.
    """
    lengths = check_maps(maps, lengths)
    utterances = label_frames(lengths, maps.shape[-1], labels, num_classes)
    found = [u.relationship(m) for m, u in valid(maps, utterances)]
    shape = (0, maps.shape[1], num_classes, num_classes)
    return torch.stack(found) if found else maps.new_zeros(shape).double()


class LabelledFrames:
    """The labels of one utterance, and what is summed by them; made once for all blocks.

    Args:
        labels: (frames f,) int64, classes or -1.
        frames: T.
        num_classes: C.
    """

    def __init__(self, labels: Tensor, frames: int, num_classes: int) -> None:
        self.labels, self.frames, self.classes = labels, frames, num_classes
        self.factor = len(labels) // frames
        self.places = labels.where(labels >= 0, labels.new_tensor(num_classes)).view(frames, -1).T
        """(f, T): the classes of each frame; C for none."""
        self.sizes = self.places.flatten().bincount(minlength=num_classes + 1)[:-1].double()
        """(C,): how many labels there are of each class."""

    @property
    def uniform(self) -> Tensor:
        """P_U (C, C)."""
        share = self.sizes / len(self.labels)
        return torch.outer(share, share)

    def attended(self, maps: Tensor) -> Tensor:
        """Σ over labels of class m and labels of class n of A at their frames, for each m and n.

        Args:
            maps: (H, T, T), or padded.

        Returns:
            (H, C, C) float64.
        """
        maps = maps[:, : self.frames, : self.frames]
        queries = maps.new_zeros(len(maps), self.classes + 1, self.frames)
        for places in self.places:
            _add_rows(queries, 1, places, maps)
        columns = queries[:, :-1].permute(2, 0, 1).double()  # (T, H, C)
        found = columns.new_zeros(self.classes + 1, *columns.shape[1:])
        for places in self.places:
            _add_rows(found, 0, places, columns)
        return found[:-1].permute(1, 2, 0)

    def relationship(self, maps: Tensor) -> Tensor:
        """The phoneme attention relationship of maps (H, T, T), or padded: (H, C, C) float64."""
        pairs = torch.outer(self.sizes, self.sizes)
        found = self.attended(maps) / pairs.where(pairs > 0, pairs.new_tensor(torch.nan))
        masks, weights, repeated = self.apart
        maps = maps[:, : self.frames, : self.frames]
        own = found.new_zeros(self.classes + 1, len(maps))
        for places, mask, weight in zip(self.places, masks, weights, strict=True):
            mask = mask.to(maps.dtype)
            rows = torch.stack([(head * mask).sum(-1) for head in maps]).double()
            _add_rows(own, 0, places, (rows * weight).T)
        own = own[:-1].where(repeated[:, None], own.new_tensor(torch.nan))
        found.diagonal(dim1=1, dim2=2).copy_(own.T)
        return found * self.frames

    @cached_property
    def apart(self) -> Tuple[Tensor, Tensor, Tensor]:
        """What is of one class but not in one run.

        Returns:
            (f, T, T) float32: how many labels of each frame are of the class of a frame's label,
            in another run; (f, T) float64: the weight of that label in its class's mean, 0 where
            there are none; (C,) bool: the classes that have several runs.
        """
        labels, size = self.labels, len(self.labels)
        changes = torch.ones_like(labels)
        changes[1:] = labels[1:] != labels[:-1]
        runs = changes.cumsum(0)
        apart = (labels[:, None] == labels) & (runs[:, None] != runs) & (labels >= 0)
        others = apart.sum(1)
        counted = labels[others > 0].bincount(minlength=self.classes)
        weights = 1.0 / (others * counted[labels.clamp(min=0)]).double()
        weights = weights.masked_fill(others == 0, 0.0).view(self.frames, -1).T
        masks = apart.view(size, self.frames, -1).sum(-1, dtype=torch.float32)
        return masks.view(self.frames, -1, self.frames).transpose(0, 1), weights, counted > 0


def label_frames(
    lengths: Tensor, frames: int, labels: Tensor, num_classes: int
) -> List[LabelledFrames]:
    """The labels (B, frames f) of utterances of ``lengths`` frames, one by one.

    Raises:
        TypeError, ValueError: labels of a wrong type, shape, or class; names the place.
    """
    labels = torch.as_tensor(labels)
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be whole numbers, not {labels.dtype}")
    fits = labels.dim() == 2 and len(labels) == len(lengths) and labels.shape[1] >= frames
    if not fits or labels.shape[1] % frames:
        raise ValueError(
            f"labels must be ({len(lengths)}, {frames}), or of {frames} times a whole number, "
            f"not {tuple(labels.shape)}"
        )
    factor, found = labels.shape[1] // frames, []
    for place, length in enumerate(lengths.tolist()):
        own = labels[place, : length * factor].long()
        if int(own.min()) < -1 or int(own.max()) >= num_classes:
            raise ValueError(
                f"labels[{place}] has classes from {int(own.min())} to {int(own.max())}; they "
                f"must be from -1 (none) to {num_classes - 1}"
            )
        found.append(LabelledFrames(own, length, num_classes))
    return found


def valid(
    maps: Tensor, utterances: Sequence[Optional[LabelledFrames]]
) -> List[Tuple[Tensor, LabelledFrames]]:
    """The maps of each utterance, (H, T, T), float32 or float64, with its labels; utterances that
    are None are left out."""
    maps = maps.detach()
    maps = maps if maps.dtype == torch.float64 else maps.float()
    return [(one, u) for one, u in zip(maps, utterances, strict=True) if u is not None]


def _add_rows(sums: Tensor, dim: int, places: Tensor, values: Tensor) -> None:
    """Add the slice t of ``values`` along ``dim`` to the slice places[t] of ``sums``."""
    if values.is_cuda:  # index_add_ adds in another order each time there
        sums += chosen_rows(sums.shape[dim], dim, places, values)
    else:
        sums.index_add_(dim, places, values)


def chosen_rows(count: int, dim: int, places: Tensor, values: Tensor) -> Tensor:
    """The sums of the slices of ``values`` along ``dim`` by their place, as one product.

    Args:
        count: of places.
        places: (T,), the place of each slice.
    """
    chosen = torch.zeros(count, len(places), dtype=values.dtype, device=values.device)
    chosen[places, torch.arange(len(places), device=values.device)] = 1.0
    return torch.tensordot(chosen, values, ([1], [dim])).movedim(0, dim)
