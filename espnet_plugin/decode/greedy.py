"""Greedy CTC decoding: the best token of every frame, repeats joined, blanks removed."""

from __future__ import annotations

from typing import List, Tuple

import torch
from torch import Tensor


def greedy_search(log_probs: Tensor, lengths: Tensor) -> Tuple[List[List[int]], List[float]]:
    """Collapse the best token of every frame.

    Args:
        log_probs: (B, T, V) log posteriors; token 0 is the blank.
        lengths: (B,) numbers of valid frames.

    Returns:
        Per utterance the tokens, and the score of the path (natural logarithm, float64).
        This is the best path of the standard CTC topology without beams.
    """
    values, tokens = log_probs.max(dim=-1)
    labels, scores = [], []
    for i, frames in enumerate(lengths.tolist()):
        joined = torch.unique_consecutive(tokens[i, :frames])
        labels.append(joined[joined != 0].tolist())
        scores.append(float(values[i, :frames].double().sum()))
    return labels, scores
