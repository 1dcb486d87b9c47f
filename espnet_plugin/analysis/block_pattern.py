"""What the attention of whole blocks looks like: the map averaged over a block's heads.

After Chen, Asgari (2021, arXiv 2104.02851), who summarise the attention pattern of each block; the
summary itself is an inference [I]: G / ln T, 1 + V / ln T and CAD of the averaged map (see
:mod:`espnet_plugin.analysis.attention`), averaged over utterances.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch

from espnet_plugin.analysis.attention import measure
from espnet_plugin.analysis.pieces import check_maps
from espnet_plugin.analysis.run import map_groups
from espnet_plugin.stacks.batches import Batch
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.stack import Stack

PATTERNS = ("global", "vertical", "diagonal")
"""The scores of a pattern: 1 of a uniform map, of one column, of the identity; about 0 of the
other two."""


class Pattern(NamedTuple):
    """The figures of one block."""

    scores: Tuple[float, float, float]
    """Means over utterances of G / ln T, 1 + V / ln T and 3 CAD - 2, in the order of
    :data:`PATTERNS`."""
    intervals: Tuple[Tuple[float, float], ...]
    """Of each score: 2.5 and 97.5 percent of the means of utterances drawn with replacement."""
    label: str
    """The pattern with the highest score; mixed: no score leads by 0.1 [I]."""


class BlockPatterns:
    """The patterns of all blocks of a stack, accumulated over batches.

    Args:
        stack: in evaluation mode. Blocks that reuse a map have none of their own, as mimics.

    Attributes:
        places: of the blocks with a map of their own.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.places = [group[0] for group in map_groups(stack)]
        self._of: Dict[str, np.ndarray] = {}

    @torch.inference_mode()
    def update(self, batch: Batch) -> None:
        """Run a batch and measure; an utterance of one frame has no pattern and does not count.

        Args:
            batch: utterance ids, speech (B, N), lengths (B,).

        Raises:
            ValueError: an utterance twice, or one that cannot be measured; names it.
        """
        names, speech, lengths = batch
        known = [name for name in names if name in self._of]
        if known:
            raise ValueError(f"{known[0]}: measured before")
        found: Dict[int, torch.Tensor] = {}
        frames = torch.zeros(0, dtype=torch.int64)

        def look(place: int, maps: torch.Tensor, valid: torch.Tensor) -> None:
            nonlocal frames
            if place in self.places and maps.shape[1] > 0:
                frames = check_maps(maps, valid)
                found[place] = scores(maps.mean(1, keepdim=True), frames)[:, 0]

        device = next(self.stack.parameters()).device
        try:
            with attention_maps(self.stack, look):
                self.stack.output(speech.to(device), lengths.to(device))
        except ValueError as error:
            raise ValueError(f"{', '.join(names)}: {error}") from error
        nothing = torch.full((len(names), 3), math.nan, dtype=torch.float64)
        values = torch.stack([found.get(place, nothing) for place in self.places], 1)
        for name, length, value in zip(names, frames.tolist(), values, strict=True):
            if length > 1:
                self._of[name] = value.numpy()

    def merge(self, other: BlockPatterns) -> None:
        """Take in what ``other`` measured on other utterances.

        Raises:
            ValueError: blocks of other places, or an utterance that both have.
        """
        if self.places != other.places:
            raise ValueError(f"blocks {self.places} and {other.places} are not of one stack")
        both = self._of.keys() & other._of.keys()
        if both:
            raise ValueError(f"{sorted(both)[0]}: measured before")
        self._of.update(other._of)

    def values(self) -> Tuple[List[str], np.ndarray]:
        """The utterances in order of name, and their scores (N, blocks, 3), float64."""
        names = sorted(self._of)
        stacked = [self._of[name] for name in names]
        shape = (0, len(self.places), 3)
        return names, np.stack(stacked) if stacked else np.zeros(shape)

    def result(self, draws: int = 1000, seed: int = 0) -> Dict[int, Pattern]:
        """The pattern of each place.

        Args:
            draws, seed: of the bootstrap over utterances.

        Raises:
            ValueError: no utterance of two frames or more.
        """
        _, values = self.values()
        if not len(values):
            raise ValueError("no utterance of two frames or more: no block has a pattern")
        generator = np.random.default_rng(seed)
        chosen = generator.integers(0, len(values), (draws, len(values)))
        counts = np.stack([np.bincount(row, minlength=len(values)) for row in chosen])
        flat = values.reshape(len(values), -1)
        means = (counts @ flat / len(values)).reshape(draws, *values.shape[1:])
        low, high = np.percentile(means, [2.5, 97.5], axis=0)
        found = {}
        for n, place in enumerate(self.places):
            mean = values[:, n].mean(0)
            intervals = tuple(zip(low[n].tolist(), high[n].tolist(), strict=True))
            found[place] = Pattern(tuple(mean.tolist()), intervals, label_of(mean))
        return found


def scores(maps: torch.Tensor, lengths: Any) -> torch.Tensor:
    """The scores of maps (B, H, T, T): (B, H, 3) float64; not finite where T = 1."""
    found = measure(maps, lengths)
    log = torch.as_tensor(lengths).to(torch.float64).log()[:, None].to(maps.device)
    triple = (found.globalness / log, 1 + found.verticality / log)
    return torch.stack([*triple, 3 * found.cumulative_diagonality - 2], -1).cpu()


def label_of(values: Sequence[float], lead: float = 0.1) -> str:
    """The pattern whose score leads the others by ``lead``, or mixed."""
    second, first = np.argsort(values)[-2:]
    return PATTERNS[first] if values[first] - values[second] >= lead else "mixed"
