"""Spans of frames and of channels masked at random in training.

Baevski et al., "wav2vec 2.0" (2020, arXiv 2006.11477), section 3.1 and appendix A, after Park et
al., "SpecAugment" (2019, arXiv 1904.08779); the names of the options are fairseq's. Unlike fairseq,
utterances of a batch need not have equally many masked frames, which only its pre-training loss
needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import torch
from torch import Tensor

LEAST_SPANS = 2
"""Of frames, per utterance that is long enough (``min_masks`` in fairseq)."""


@dataclass(frozen=True)
class Masking:
    """How much is masked.

    Raises:
        ValueError: one line that names the option that makes no sense.
    """

    mask_prob: float = 0.0
    """Frames in spans, as a part of all frames; spans overlap, so fewer are masked."""
    mask_length: int = 10
    """Frames of a span."""
    channel_mask_prob: float = 0.0
    """As ``mask_prob``, of channels."""
    channel_mask_length: int = 64
    """Channels of a span."""

    def __post_init__(self) -> None:
        for name in ("mask_prob", "channel_mask_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        for name in ("mask_length", "channel_mask_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    def __bool__(self) -> bool:
        return self.mask_prob > 0 or self.channel_mask_prob > 0

    def __call__(self, features: Tensor, lengths: Tensor, embedding: Tensor) -> Tensor:
        """Features with new spans masked, drawn from torch's generator for the CPU.

        Args:
            features: (B, T, D).
            lengths: (B,), valid frames; spans lie within them.
            embedding: (D,), what a masked frame becomes; a masked channel becomes zero.
        """
        size, time, width = features.shape
        if self.mask_prob > 0:
            mask = spans(lengths.tolist(), time, self.mask_prob, self.mask_length, LEAST_SPANS)
            mask = mask.to(features.device).unsqueeze(-1)
            features = torch.where(mask, embedding.to(features.dtype), features)
        if self.channel_mask_prob > 0:
            channels = [width] * size
            mask = spans(channels, width, self.channel_mask_prob, self.channel_mask_length)
            features = features.masked_fill(mask.to(features.device).unsqueeze(1), 0.0)
        return features


def spans(sizes: Sequence[int], total: int, prob: float, length: int, least: int = 0) -> Tensor:
    """Random spans, which may overlap, in rows of different sizes.

    A row of n has prob * n / length spans, rounded at random so that this is the mean; at least
    ``least``, and no more than fit side by side.

    Args:
        sizes: n of each row.
        total: columns of the result.
        prob, length: see :class:`Masking`.

    Returns:
        (rows, total), true within spans, on the CPU.
    """
    mask = torch.zeros(len(sizes), total, dtype=torch.bool)
    for row, size in enumerate(sizes):
        count = int(prob * size / length + torch.rand(()).item())
        count = min(max(count, least), size // length)
        if count > 0:
            starts = torch.randperm(size - length + 1)[:count]
            mask[row, (starts[:, None] + torch.arange(length)).flatten()] = True
    return mask
