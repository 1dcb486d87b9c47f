"""How far a student is from its teacher, or from the transcripts, over valid frames."""

from __future__ import annotations

from typing import Callable, Dict, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def mean_square(x: Tensor, y: Tensor, lengths: Tensor) -> Tensor:
    """The mean of (x - y)² over valid frames and channels.

    Args:
        x, y: (B, T, D).
        lengths: (B,) valid frames; the others do not count, whatever they hold.
    """
    squares = (x - y).square().masked_fill(~valid(lengths, x), 0.0)
    return squares.sum() / (lengths.sum() * x.size(-1))


def cosine_distance(x: Tensor, y: Tensor, lengths: Tensor) -> Tensor:
    """1 minus the mean cosine of x and y over valid frames; arguments as :func:`mean_square`."""
    cosines = functional.cosine_similarity(x, y, dim=-1)
    return 1 - cosines.masked_fill(~valid(lengths, x).squeeze(-1), 0.0).sum() / lengths.sum()


HIDDEN: Dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mse": mean_square,
    "cosine": cosine_distance,
}
"""Losses on hidden states, by their names in the command."""


def divergence(student: Tensor, teacher: Tensor, lengths: Tensor) -> Tensor:
    """KL(teacher || student) of CTC posteriors, the mean over valid frames, in nats.

    Args:
        student, teacher: (B, T, V) natural logarithms, finite.
        lengths: (B,) valid frames.
    """
    terms = teacher.exp() * (teacher - student)
    return terms.masked_fill(~valid(lengths, terms), 0.0).sum() / lengths.sum()


def ctc_loss(log_probs: Tensor, lengths: Tensor, labels: Sequence[Sequence[int]]) -> Tensor:
    """CTC's negative log likelihood of the transcripts, per valid frame, in nats.

    Args:
        log_probs: (B, T, V) natural logarithms; token 0 is the blank.
        lengths: (B,) valid frames.
        labels: the tokens of each utterance; one that cannot be had from so few frames counts as 0.
    """
    tokens = torch.tensor([token for one in labels for token in one], dtype=torch.int64)
    counts = torch.tensor([len(one) for one in labels], dtype=torch.int64)
    total = functional.ctc_loss(
        log_probs.transpose(0, 1),
        tokens.to(log_probs.device),
        lengths.to(log_probs.device),
        counts.to(log_probs.device),
        reduction="sum",
        zero_infinity=True,
    )
    return total / lengths.sum()


def valid(lengths: Tensor, x: Tensor) -> Tensor:
    """(B, T, 1), true on the valid frames of ``x`` (B, T, D)."""
    return (torch.arange(x.size(1), device=x.device) < lengths[:, None]).unsqueeze(-1)
