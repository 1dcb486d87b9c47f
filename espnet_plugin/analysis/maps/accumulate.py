"""Attention measures over a data set: a sum per head, mergeable over jobs, maps never kept."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

import torch

from espnet_plugin.analysis.attention import MEASURES, measure
from espnet_plugin.analysis.maps.map_similarity import pairwise_similarity
from espnet_plugin.analysis.maps.pieces import Lengths
from espnet_plugin.analysis.sums.exact_sum import ExactSum


class AttentionMeasures:
    """Means over utterances of the measures of every head.

    Memory is a few numbers per head, whatever the number of utterances. The sums are exact
    integers (:class:`ExactSum`), so utterances may be split over jobs in any way and merged in
    any order: the same values give the same result bit for bit.
    """

    def __init__(self) -> None:
        self._sums: Dict[int, ExactSum] = {}

    def update(self, block: int, maps: torch.Tensor, lengths: Lengths) -> None:
        """Measure the maps of one block for a batch of utterances.

        Args:
            block: number of the block, from 0.
            maps: (B, H, T, T), floating; not kept.
            lengths: (B,) valid frames.

        Raises:
            TypeError, ValueError: as :func:`espnet_plugin.analysis.attention.measure`; maps with
                NaN; another number of heads than before.
        """
        values = torch.stack(measure(maps, lengths), dim=-1)
        if values.isnan().any():
            raise ValueError(
                f"block {block}: the attention maps hold NaN; the model's parameters or its "
                "input are not finite"
            )
        self._sums.setdefault(block, ExactSum(values.shape[1:])).add(values)

    def merge(self, other: AttentionMeasures) -> None:
        """Add what another has measured (other utterances of the same model)."""
        for block, sums in other._sums.items():
            self._sums.setdefault(block, ExactSum(sums.shape)).merge(sums)

    def state_dict(self) -> Dict[str, Any]:
        """The sums; ``torch.save`` takes it."""
        return {str(block): sums.state_dict() for block, sums in sorted(self._sums.items())}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace the sums by those of :meth:`state_dict`."""
        self._sums = {int(b): ExactSum.from_state_dict(sums) for b, sums in state.items()}

    @property
    def blocks(self) -> List[int]:
        """The blocks measured so far, in order."""
        return sorted(self._sums)

    @property
    def utterances(self) -> int:
        """How many utterances every block has seen.

        Raises:
            ValueError: the blocks have seen different numbers.
        """
        counts = {sums.count for sums in self._sums.values()}
        if len(counts) > 1:
            raise ValueError(f"blocks have seen different numbers of utterances: {sorted(counts)}")
        return counts.pop() if counts else 0

    def result(self) -> Dict[int, Dict[str, torch.Tensor]]:
        """block -> measure (a name of ``MEASURES``) -> (H,) float64, means over utterances.

        Raises:
            ValueError: nothing was measured.
        """
        if not self._sums:
            raise ValueError("no attention map was measured: there was no utterance")
        return {
            block: dict(zip(MEASURES, self._sums[block].mean().unbind(-1), strict=True))
            for block in self.blocks
        }


class MapSimilarity:
    """Mean over utterances of the Jensen–Shannon similarity of all pairs of blocks.

    Merges as :class:`AttentionMeasures` does. One batch needs the maps of all blocks at once.
    """

    def __init__(self) -> None:
        self._sum: Optional[ExactSum] = None

    def update(self, blocks: Sequence[torch.Tensor], lengths: Lengths) -> None:
        """Compare the maps of all blocks, each (B, H, T, T), for a batch of utterances."""
        values = pairwise_similarity(blocks, lengths).mean(-1).movedim(-1, 0)
        if self._sum is None:
            self._sum = ExactSum(values.shape[1:])
        self._sum.add(values)

    def merge(self, other: MapSimilarity) -> None:
        """Add what another has compared."""
        if other._sum is None:
            return
        if self._sum is None:
            self._sum = ExactSum(other._sum.shape)
        self._sum.merge(other._sum)

    def state_dict(self) -> Dict[str, Any]:
        return {} if self._sum is None else self._sum.state_dict()

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        self._sum = ExactSum.from_state_dict(state) if state else None

    def result(self) -> torch.Tensor:
        """(L, L) float64.

        Raises:
            ValueError: nothing was compared.
        """
        if self._sum is None:
            raise ValueError("no attention map was compared: there was no utterance")
        return self._sum.mean()
