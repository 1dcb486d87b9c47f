"""What the attention of whole blocks looks like: the map averaged over a block's heads.

After Chen, Asgari (2021, arXiv 2104.02851), who summarise the attention pattern of each block; the
summary itself is an inference [I]: G / ln T, 1 + V / ln T and CAD of the averaged map (see
:mod:`espnet_plugin.analysis.attention`), averaged over utterances.
"""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch

from espnet_plugin.analysis.attention import measure
from espnet_plugin.analysis.suite.measure import MAPS, Context, Utterances

PATTERNS = ("global", "vertical", "diagonal")
"""The scores of a pattern: 1 of a uniform map, of one column, of the identity; about 0 of the
other two."""

SOURCES = {
    name: {
        "mark": "I",
        "unit": "1",
        "source": f"{formula} of the mean of a block's maps; after Chen, Asgari 2021, arXiv "
        "2104.02851",
    }
    for name, formula in zip(PATTERNS, ("G / ln T", "1 + V / ln T", "3 CAD − 2"), strict=True)
}
"""Where the scores come from; the label is the highest score, mixed where none leads by 0.1."""


class Pattern(NamedTuple):
    """The figures of one block."""

    scores: Tuple[float, float, float]
    """Means over utterances of G / ln T, 1 + V / ln T and 3 CAD - 2, in the order of
    :data:`PATTERNS`."""
    intervals: Tuple[Tuple[float, float], ...]
    """Of each score: 2.5 and 97.5 percent of the means of utterances drawn with replacement."""
    label: str
    """The pattern with the highest score; mixed: no score leads by 0.1 [I]."""


def make(context: Context) -> Patterns:
    """The measure ``patterns`` of a model."""
    return Patterns(context.encoder.leaders, seed=context.options.get("seed", 0))


class Patterns:
    """The patterns of all blocks with a map of their own, accumulated over batches.

    An utterance of one frame has no pattern and does not count.

    Args:
        blocks: those with a map of their own.
        draws, seed: of the bootstrap over utterances.
    """

    name = "patterns"
    wants: FrozenSet[str] = frozenset({MAPS})

    def __init__(self, blocks: Sequence[int], draws: int = 1000, seed: int = 0) -> None:
        self.blocks = list(blocks)
        self.draws, self.seed = draws, seed
        self._of: Dict[str, np.ndarray] = {}
        self._names: List[str] = []
        self._found: Dict[int, torch.Tensor] = {}

    def begin(self, utterances: Utterances) -> None:
        """A batch begins.

        Raises:
            ValueError: an utterance that was seen before.
        """
        known = [name for name in utterances.names if name in self._of]
        if known:
            raise ValueError(f"{known[0]}: measured before")
        self._names, self._found = list(utterances.names), {}

    def look(self, block: int, maps: torch.Tensor, lengths: torch.Tensor) -> None:
        """See :class:`espnet_plugin.analysis.suite.measure.Measure`."""
        self._found[block] = scores(maps.mean(1, keepdim=True), lengths)[:, 0]

    def end(self, states: Sequence[torch.Tensor], lengths: torch.Tensor) -> None:
        """See :class:`espnet_plugin.analysis.suite.measure.Measure`."""
        if not self.blocks:
            return
        values = torch.stack([self._found[block] for block in self.blocks], 1)
        for name, length, value in zip(self._names, lengths.tolist(), values, strict=True):
            if length > 1:
                self._of[name] = value.numpy()
        self._found = {}

    def merge(self, other: Patterns) -> None:
        """Take in what ``other`` measured on other utterances.

        Raises:
            ValueError: other blocks, or an utterance that both have.
        """
        if self.blocks != other.blocks:
            raise ValueError(f"blocks {self.blocks} and {other.blocks} are not of one stack")
        both = self._of.keys() & other._of.keys()
        if both:
            raise ValueError(f"{sorted(both)[0]}: measured before")
        self._of.update(other._of)

    def state_dict(self) -> Dict[str, Any]:
        """The scores of all utterances."""
        names, values = self.values()
        return {"names": names, "scores": torch.from_numpy(values)}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace everything by what :meth:`state_dict` gave."""
        self._of = dict(zip(state["names"], state["scores"].numpy(), strict=True))

    def values(self) -> Tuple[List[str], np.ndarray]:
        """The utterances in order of name, and their scores (N, blocks, 3), float64."""
        names = sorted(self._of)
        stacked = [self._of[name] for name in names]
        shape = (0, len(self.blocks), 3)
        return names, np.stack(stacked) if stacked else np.zeros(shape)

    def patterns(self) -> Dict[int, Pattern]:
        """The pattern of each block.

        Raises:
            ValueError: no utterance of two frames or more.
        """
        if not self.blocks:
            return {}
        _, values = self.values()
        if not len(values):
            raise ValueError("no utterance of two frames or more: no block has a pattern")
        generator = np.random.default_rng(self.seed)
        chosen = generator.integers(0, len(values), (self.draws, len(values)))
        counts = np.stack([np.bincount(row, minlength=len(values)) for row in chosen])
        flat = values.reshape(len(values), -1)
        means = (counts @ flat / len(values)).reshape(self.draws, *values.shape[1:])
        low, high = np.percentile(means, [2.5, 97.5], axis=0)
        found = {}
        for n, block in enumerate(self.blocks):
            mean = values[:, n].mean(0)
            intervals = tuple(zip(low[n].tolist(), high[n].tolist(), strict=True))
            found[block] = Pattern(tuple(mean.tolist()), intervals, label_of(mean))
        return found

    def result(self) -> Dict[str, Any]:
        """``sources``, ``utterances`` and ``blocks``; see docs/analysis.md."""
        blocks = [
            {
                "block": block,
                "label": pattern.label,
                "scores": dict(zip(PATTERNS, pattern.scores, strict=True)),
                "intervals_95": {
                    name: list(interval)
                    for name, interval in zip(PATTERNS, pattern.intervals, strict=True)
                },
            }
            for block, pattern in self.patterns().items()
        ]
        return {"sources": SOURCES, "utterances": len(self._of), "blocks": blocks}

    def arrays(self) -> Dict[str, np.ndarray]:
        """``names`` (N,), ``blocks`` (L,) and ``scores`` (N, L, 3), in the order of PATTERNS."""
        names, values = self.values()
        return {
            "names": np.array(names, dtype=str),
            "blocks": np.array(self.blocks),
            "scores": values,
        }

    def tables(self) -> Dict[str, List[List[Any]]]:
        """A row for each block."""
        rows: List[List[Any]] = [["block", "label"]]
        for name in PATTERNS:
            rows[0] += [name, f"{name}_low", f"{name}_high"]
        for block, pattern in self.patterns().items():
            cells = zip(pattern.scores, pattern.intervals, strict=True)
            rows.append([block, pattern.label, *(v for s, ends in cells for v in (s, *ends))])
        return {"": rows}


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
