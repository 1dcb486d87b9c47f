"""The similarity of all pairs of states over one set of samples, as sums.

One batched product gives the Gram matrices of all S states, S·n²·D operations; the HSIC of all
pairs are then one product of flattened Gram matrices, S²·n². Products of features in place of
Gram matrices would take S²·n·D²/2 and are dearer where n < S·D/2, so pieces of some hundred
samples take Gram matrices. k-NN uses the same ones: ⟨x_i, x_j⟩ is ⟨c_i, c_j⟩ + ⟨c_j, m⟩ and what
does not depend on j, where c is x less its mean m. Everything is float64.
"""

from __future__ import annotations

from typing import List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

LEAST = 4
"""The fewest samples for which unbiased HSIC is defined; biased: 2."""
STRIP = 128
"""Rows of a Gram matrix that are computed at once."""
CONSTANT = 1e-12
"""A state is constant where no sample is further from the mean than this, relative to the
largest sample: what rounding leaves."""


class PairSums(NamedTuple):
    """Sums over samples for all pairs of S states, float64 on the CPU, (S, S) each."""

    cosine: Tensor
    """Of cosines."""
    angles: Tensor
    """Of how many samples: one that is zero has no angle."""
    unbiased: Tensor
    """HSIC, unbiased (Song et al. 2012); 0 of fewer than 4 samples and of constant states."""
    biased: Tensor
    """HSIC, biased, over (n − 1)²; 0 of one sample and of constant states."""
    shared: Tensor
    """(K, S, S): neighbours that both have, for each k."""
    samples: Tensor
    """(K, S, S): of how many samples; 0 where k ≥ n or one of the states is constant."""


def pair_sums(samples: Tensor, neighbours: Sequence[int]) -> PairSums:
    """Compare all pairs of states over one set of samples.

    Args:
        samples: (S, n, D), float64, finite. Worked in: it holds the centred samples afterwards.
        neighbours: each k of mutual k-NN.
    """
    states, count, _ = samples.shape
    by_sample = samples.transpose(0, 1)
    inner = by_sample @ by_sample.transpose(1, 2)  # (n, S, S)
    norms = inner.diagonal(dim1=1, dim2=2).sqrt()
    there = norms > 0
    inverse = torch.where(there, 1 / norms, torch.zeros_like(norms))
    cosine = (inner * inverse[:, :, None] * inverse[:, None]).sum(dim=0)
    angles = there.double().T @ there.double()

    mean = samples.mean(dim=1, keepdim=True)
    centred = samples.sub_(mean)
    gram = _gram(centred)
    furthest = gram.diagonal(dim1=1, dim2=2).amax(dim=1).sqrt()
    varies = (furthest > CONSTANT * norms.amax(dim=0)).double()
    both = torch.outer(varies, varies)
    unbiased, biased = (hsic * both for hsic in _hsic(gram))

    gram.add_((centred @ mean.transpose(1, 2)).transpose(1, 2))
    shared, counted = [cosine.new_zeros(0, states, states)], [cosine.new_zeros(0, states, states)]
    possible = sorted({k for k in neighbours if k < count})
    masks = dict(zip(possible, _nearest(gram, possible), strict=True))
    for k in neighbours:
        found = _products(masks[k]) if k in masks else torch.zeros_like(both)
        shared.append((found * both)[None])
        counted.append((both * (count if k in masks else 0))[None])
    sums = (cosine, angles, unbiased, biased, torch.cat(shared), torch.cat(counted))
    return PairSums(*(tensor.cpu() for tensor in sums))


def _gram(samples: Tensor) -> Tensor:
    """(S, n, D) -> (S, n, n) inner products; what lies below the diagonal is copied."""
    states, count, _ = samples.shape
    gram = samples.new_empty(states, count, count)
    for start in range(0, count, STRIP):
        end = min(start + STRIP, count)
        strip = samples[:, start:end] @ samples[:, start:].transpose(1, 2)
        gram[:, start:end, start:] = strip
        gram[:, end:, start:end] = strip[:, :, end - start :].transpose(1, 2)
    return gram


def _hsic(gram: Tensor) -> Tuple[Tensor, Tensor]:
    """Unbiased and biased, of the Gram matrices of centred samples (S, n, n)."""
    count = gram.shape[-1]
    products = gram.flatten(1) @ gram.flatten(1).T
    biased = products / max(count - 1, 1) ** 2
    if count < LEAST:
        return torch.zeros_like(products), biased
    # without their diagonals; of centred samples the full rows sum to 0
    diagonal = gram.diagonal(dim1=1, dim2=2)
    sums = diagonal.sum(dim=1)
    around = diagonal @ diagonal.T
    unbiased = products - around + torch.outer(sums, sums) / ((count - 1) * (count - 2))
    return (unbiased - 2 * around / (count - 2)) / (count * (count - 3)), biased


def _nearest(products: Tensor, neighbours: Sequence[int]) -> List[Tensor]:
    """For each k, ascending, who is among the k nearest of each sample: (S, n, n) float32, 1 or 0.

    Of equal ones those that come first. ``products``: (S, n, n), changed.
    """
    if not neighbours:
        return []
    products.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    largest = products.topk(neighbours[-1], dim=2).values
    found = []
    for k in neighbours:
        last = largest[..., k - 1 : k]
        near = torch.ge(products, last, out=torch.empty_like(products, dtype=torch.float32))
        if int(near.sum(dim=2).max()) > k:
            nearer = products > last
            equal = (products == last).int()
            room = k - nearer.sum(dim=2, keepdim=True)
            near = (nearer | ((equal > 0) & (equal.cumsum(dim=2) <= room))).float()
        found.append(near)
    return found


def _products(near: Tensor) -> Tensor:
    """How many places are 1 in both, of all pairs; exact in float32 below 2**24 of them."""
    flat = near.flatten(1)
    return (flat @ flat.T).double()
