"""Measure the attention of a trained model over a data set, in one pass."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List

import torch
from torch import nn

from espnet_plugin.analysis.accumulate import AttentionMeasures, MapSimilarity
from espnet_plugin.analysis.pieces import check_maps
from espnet_plugin.compat import TooShortUttError
from espnet_plugin.stacks.batches import Batch
from espnet_plugin.stacks.hooks import attention_maps, stack_in
from espnet_plugin.stacks.stack import follows


def map_groups(encoder: nn.Module) -> List[List[int]]:
    """Which blocks of an encoder use one map: its ``groups``, or every block alone.

    Blocks of a stack are counted by their place among those that are left; a mimic, which has no
    map, is in no group.
    """
    stack = stack_in(encoder)
    if stack is not None:
        found: List[List[int]] = []
        for place, block in enumerate(stack.blocks):
            if follows(block):
                found[-1].append(place)
            elif getattr(block, "attention", None) is not None:
                found.append([place])
        return found
    groups = getattr(encoder, "groups", None)
    if groups is None:
        return [[block] for block in range(len(encoder.encoders))]  # type: ignore[arg-type]
    return [list(group) for group in groups]


class AttentionPass:
    """The measures of one pass over the data.

    Blocks that reuse another's map are not measured again: see ``groups``.

    Args:
        model: an ``ESPnetASRModel`` in evaluation mode.
        similarity: also compare the maps of all blocks; the maps of one batch are then kept
            until its forward pass ends (leaders × B × H × T² numbers).

    Attributes:
        groups: lists of blocks that use one map, the block it comes from first.
        measures, similarity: what was accumulated; ``similarity`` may be None.
        samples, frames: of the utterances so far, without padding; frames of the encoder.
    """

    def __init__(self, model: Any, similarity: bool = True) -> None:
        self.model = model
        self.groups = map_groups(model.encoder)
        self.measures = AttentionMeasures()
        self.similarity = MapSimilarity() if similarity else None
        self.samples = 0
        self.frames = 0

    @torch.inference_mode()
    def update(self, batch: Batch) -> None:
        """Encode a batch and measure the maps.

        Args:
            batch: utterance ids, speech (B, N), lengths (B,).

        Raises:
            ValueError: the maps cannot be measured, or an utterance is too short for the
                encoder; names the utterances.
        """
        names, speech, lengths = batch
        device = next(self.model.parameters()).device
        leaders = {group[0] for group in self.groups}
        kept: Dict[int, torch.Tensor] = {}
        frames = torch.zeros(0, dtype=torch.int64)

        def look(block: int, maps: torch.Tensor, valid: torch.Tensor) -> None:
            nonlocal frames
            if block not in leaders:
                return
            frames = check_maps(maps, valid)
            self.measures.update(block, maps, frames)
            if self.similarity is not None:
                kept[block] = maps

        try:
            with attention_maps(self.model.encoder, look):
                self.model.encode(speech.to(device), lengths.to(device))
            if self.similarity is not None:
                if len({maps.shape[1] for maps in kept.values()}) > 1:
                    raise ValueError(
                        "blocks with different numbers of heads cannot be compared head by head; "
                        "leave the similarity of maps out (--similarity false)"
                    )
                self.similarity.update([kept[block] for block in sorted(kept)], frames)
        except (ValueError, TooShortUttError) as e:
            reason = e.args[0] if e.args else e
            raise ValueError(f"{', '.join(names)}: {reason}") from e
        self.samples += int(lengths.sum())
        self.frames += int(frames.sum())

    def measure_all(self, batches: Iterable[Batch]) -> None:
        """:meth:`update` with each batch."""
        for batch in batches:
            self.update(batch)

    def similarity_matrix(self) -> List[List[float]]:
        """Similarity of all blocks, L × L; blocks of one group share a map and have 1.

        Raises:
            ValueError: it was not asked for, or there was no utterance.
        """
        if self.similarity is None:
            raise ValueError("the similarity of maps was not measured")
        place = {block: n for n, group in enumerate(self.groups) for block in group}
        order = [place[block] for block in sorted(place)]
        return self.similarity.result()[order][:, order].tolist()


@torch.inference_mode()
def example_maps(model: Any, batch: Batch) -> List[torch.Tensor]:
    """The maps of the first utterance of a batch: (H, T, T), float32, CPU, for each block."""
    _, speech, lengths = batch
    device = next(model.parameters()).device
    maps: List[torch.Tensor] = []

    def keep(block: int, block_maps: torch.Tensor, valid: torch.Tensor) -> None:
        maps.append(block_maps[0].float().cpu().clone())

    with attention_maps(model.encoder, keep):
        model.encode(speech[:1, : int(lengths[0])].to(device), lengths[:1].to(device))
    return maps
