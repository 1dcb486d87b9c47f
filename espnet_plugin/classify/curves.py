"""Pruning curves of a classifier: which blocks are alike, and what is left without them.

Source: Dorszewski et al., ICASSP 2025 (arXiv 2409.16302). Their samples were whole utterances of
one length; here a sample is a valid frame, drawn from all recordings.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

import torch
from torch import Tensor

from espnet_plugin.analysis.similarity import cosine_similarity, linear_cka, mutual_knn
from espnet_plugin.classify.accuracy import accuracy_of
from espnet_plugin.classify.classifier import Classifier
from espnet_plugin.classify.recordings import Recordings
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.pruning_curve import pruning_curves, removable
from espnet_plugin.surgery.pruning_order import ORDERS

MEASURES = {"cosine": cosine_similarity, "linear CKA": linear_cka, "mutual k-NN": mutual_knn}


@torch.no_grad()
def frame_samples(
    stack: Stack, recordings: Recordings, frames: int = 1000, seed: int = 0
) -> List[Tensor]:
    """Hidden states of valid frames that are drawn at random from all recordings.

    Args:
        stack: in evaluation mode; a norm behind its last block has no part.
        recordings: of any labels.
        frames: how many; all of them, where there are no more.
        seed: of the draw.

    Returns:
        (frames, D) for what enters block 0 and what leaves each block, the same frames in all.
    """
    device = next(stack.parameters()).device
    found: List[Tensor] = []
    batches = recordings.batches()
    for batch in batches.epoch(0):
        _, waveforms, lengths = batches.read(batch)
        layers = len(stack.blocks)
        hidden, valid = stack(waveforms.to(device), lengths.to(device), layers=layers)
        states = torch.stack(hidden, dim=2)  # (B, T, S, D)
        found.extend(row[:length].cpu() for row, length in zip(states, valid.tolist(), strict=True))
    samples = torch.cat(found)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(samples), generator=generator)[:frames]
    return list(samples[drawn].unbind(dim=1))


def similarities(states: Sequence[Tensor]) -> Dict[str, List[List[float]]]:
    """Cosine, linear CKA (biased, the paper's) and mutual k-NN (k = 10) of all pairs of states.

    Args:
        states: (N, D) each, S of them.

    Returns:
        Measure -> (S, S), symmetric.
    """
    count = len(states)
    found = {}
    for name, measure in MEASURES.items():
        values = [[1.0] * count for _ in range(count)]
        for first in range(count):
            for second in range(first):
                value = measure(states[first], states[second])
                values[first][second] = values[second][first] = value
        found[name] = values
    return found


def middle_third(blocks: int) -> List[int]:
    """The blocks of the middle third, from the centre outwards: our ``core`` [I]."""
    centre = (blocks - 1) / 2
    middle = range(max(1, blocks // 3), blocks - blocks // 3)
    return sorted(middle, key=lambda block: (abs(block - centre), block))


def prune(
    classifier: Classifier,
    train: Recordings,
    test: Recordings,
    core: Optional[Sequence[int]] = None,
    frames: int = 1000,
    orders: Sequence[str] = ORDERS,
) -> Dict[str, Any]:
    """All orders and their curves, nothing trained.

    Args:
        classifier: its head stays as it is.
        train: where the similarities come from.
        test: where the accuracies come from.
        core: for ``core_first``; None: :func:`middle_third`.
        frames: see :func:`frame_samples`.
        orders: which.

    Returns:
        Plain values: ``blocks``, ``similarity``, ``core``, ``curves`` (order -> ``order``, and
        ``right`` of ``total`` after 0, 1, … blocks, and ``removable`` at 95 %).
    """
    classifier.eval()
    similarity = similarities(frame_samples(classifier.stack, train, frames))
    blocks, total = len(classifier.stack.blocks), len(test.utterances)
    core = middle_third(blocks) if core is None else list(core)
    capacity = accuracy_of(classifier.head, classifier.labels, test)
    curves = pruning_curves(classifier.stack, capacity, similarity, core, orders)
    return {
        "blocks": blocks,
        "frames": frames,
        "similarity": similarity,
        "core": core,
        "total": total,
        "curves": {
            name: {
                "order": order,
                "right": [round(value * total) for _, value in curve],
                "removable": removable(curve),
            }
            for name, (order, curve) in curves.items()
        },
    }
