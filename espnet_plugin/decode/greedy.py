"""Greedy CTC decoding: the best token of every frame, repeats joined, blanks removed."""

from __future__ import annotations

import logging
import math
from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def greedy_search(
    log_probs: Tensor, lengths: Tensor, names: Optional[Sequence[str]] = None
) -> Tuple[List[List[int]], List[float]]:
    """Collapse the best token of every frame.

    Args:
        log_probs: (B, T, V) log posteriors; token 0 is the blank.
        lengths: (B,) numbers of valid frames.
        names: (B) names of the utterances, for the log.

    Returns:
        Per utterance the tokens, and the score of the path (natural logarithm, float64).
        This is the best path of the standard CTC topology without beams. An utterance with a
        posterior that is not a number has no tokens and the score −inf; the log says so.
    """
    values, tokens = log_probs.max(dim=-1)
    labels, scores = [], []
    for i, frames in enumerate(lengths.tolist()):
        joined = torch.unique_consecutive(tokens[i, :frames])
        score = float(values[i, :frames].double().sum())
        if math.isnan(score):
            name = names[i] if names is not None else f"utterance {i}"
            logger.warning("%s: a posterior is not a number; its hypothesis is empty", name)
            joined, score = joined[:0], -math.inf
        labels.append(joined[joined != 0].tolist())
        scores.append(score)
    return labels, scores
