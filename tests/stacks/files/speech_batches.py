"""A padded batch for tests of loaded stacks, and how far two models are apart on it."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import torch

LENGTHS = (3000, 2000, 1111)


def padded_batch(seed: int = 0) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise (3, 3000), zero after each end; lengths (3,); true where padded (3, 3000)."""
    lengths = torch.tensor(LENGTHS)
    noise = torch.randn(3, LENGTHS[0], generator=torch.Generator().manual_seed(seed)) * 0.1 + 0.05
    padded = torch.arange(LENGTHS[0]) >= lengths[:, None]
    return noise.masked_fill(padded, 0.0), lengths, padded


def normalized(waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Each utterance as fairseq's data set normalises it, by itself, then padded with zeros."""
    result = torch.zeros_like(waveforms)
    for row, waveform, length in zip(result, waveforms, lengths.tolist(), strict=True):
        row[:length] = torch.nn.functional.layer_norm(waveform[:length], (length,))
    return result


def distance(
    ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor], frames: torch.Tensor
) -> float:
    """The greatest difference of two lists of hidden states on valid frames."""
    assert len(ours) == len(theirs)
    found: List[float] = []
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        valid = torch.arange(a.size(1)) < frames[:, None]
        found.append(float((a - b)[valid].abs().max()))
    return max(found)


def spread(model: torch.nn.Module) -> None:
    """Norms and biases that are not ones and zeros, so that a mistaken one is seen."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
