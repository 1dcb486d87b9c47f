"""The measures ``attention`` and ``map_similarity`` of the analysis suite."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Optional, Sequence

import numpy as np
from torch import Tensor

from espnet_plugin.analysis.attention import MEASURES
from espnet_plugin.analysis.maps.accumulate import AttentionMeasures, MapSimilarity
from espnet_plugin.analysis.maps.attention_report import SOURCES
from espnet_plugin.analysis.maps.categories import categorise
from espnet_plugin.analysis.suite.measure import MAPS, Context, Utterances


def make_attention(context: Context) -> Attention:
    """The measure ``attention`` of a model."""
    return Attention(context.encoder.groups, context.encoder.heads)


def make_similarity(context: Context) -> Similarity:
    """The measure ``map_similarity`` of a model."""
    return Similarity(context.encoder.groups, context.encoder.heads)


class Attention:
    """Means over utterances of the measures of every head; :class:`AttentionMeasures` in the suite.

    Args:
        groups, heads: of :class:`espnet_plugin.analysis.suite.subject.Subject`.
    """

    name = "attention"
    wants: FrozenSet[str] = frozenset({MAPS})

    def __init__(self, groups: Sequence[Sequence[int]], heads: Sequence[int]) -> None:
        self.groups, self.heads = [list(group) for group in groups], list(heads)
        self.sums = AttentionMeasures()

    def begin(self, utterances: Utterances) -> None:
        """Nothing to do."""

    def look(self, block: int, maps: Tensor, lengths: Tensor) -> None:
        """See :class:`espnet_plugin.analysis.suite.measure.Measure`."""
        self.sums.update(block, maps, lengths)

    def end(self, states: Sequence[Tensor], lengths: Tensor) -> None:
        """Nothing to do."""

    def merge(self, other: Attention) -> None:
        """Add what another has measured."""
        self.sums.merge(other.sums)

    def state_dict(self) -> Dict[str, Any]:
        """The sums."""
        return self.sums.state_dict()

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace the sums by those of :meth:`state_dict`."""
        self.sums.load_state_dict(state)

    def result(self) -> Dict[str, Any]:
        """``sources``, ``groups``, ``blocks`` (see docs/analysis.md) and ``similarity``, which is
        None: the writer fills it in where ``map_similarity`` was measured too."""
        leaders = {block: group[0] for group in self.groups for block in group}
        of = self._heads()
        blocks = []
        for block in range(len(self.heads)):
            leader = leaders.get(block)
            shared = leader if leader != block else None
            found = [] if leader is None else of[leader]
            blocks.append({"block": block, "shares_map_of": shared, "heads": found})
        sources = {name: source for name, source in SOURCES.items()}
        return {"sources": sources, "groups": self.groups, "blocks": blocks, "similarity": None}

    def arrays(self) -> Dict[str, np.ndarray]:
        """``block``, ``head`` and each measure, (N,), for the heads with a map of their own."""
        rows = [(block, head) for block, heads in self._heads().items() for head in heads]
        columns = {name: np.array([float(head[name]) for _, head in rows]) for name in MEASURES}
        place = {
            "block": np.array([block for block, _ in rows], dtype=np.int64),
            "head": np.array([head["head"] for _, head in rows], dtype=np.int64),
        }
        return {**place, **columns}

    def tables(self) -> Dict[str, List[List[Any]]]:
        """A row for each head with a map of its own."""
        columns = ["head", *MEASURES, "category"]
        rows: List[List[Any]] = [["block", *columns]]
        for block, heads in self._heads().items():
            rows += [[block, *(head[name] for name in columns)] for head in heads]
        return {"": rows}

    def _heads(self) -> Dict[int, List[Dict[str, Any]]]:
        """By leader."""
        leaders = [group[0] for group in self.groups]
        if not leaders:
            return {}
        found = self.sums.result()
        flat = {name: [float(v) for b in leaders for v in found[b][name]] for name in MEASURES}
        category = iter(categorise(flat))
        return {
            block: [
                {
                    "head": head,
                    **{name: float(found[block][name][head]) for name in MEASURES},
                    "category": next(category),
                }
                for head in range(self.heads[block])
            ]
            for block in leaders
        }


class Similarity:
    """Jensen–Shannon similarity of all pairs of blocks; :class:`MapSimilarity` in the suite.

    It keeps the maps of one batch until all blocks have run: blocks × B × H × T² numbers.

    Args:
        groups, heads: of :class:`espnet_plugin.analysis.suite.subject.Subject`. Heads are compared
            one by one, so blocks with different numbers of them are not compared at all.
    """

    name = "map_similarity"

    def __init__(self, groups: Sequence[Sequence[int]], heads: Sequence[int]) -> None:
        self.groups, self.blocks = [list(group) for group in groups], len(heads)
        self.reason: Optional[str] = None
        counts = sorted({heads[group[0]] for group in groups})
        if not counts:
            self.reason = "no block has an attention map"
        elif len(counts) > 1:
            self.reason = f"blocks have different numbers of heads: {counts}"
        self.wants: FrozenSet[str] = frozenset() if self.reason else frozenset({MAPS})
        self.mean = MapSimilarity()
        self._maps: List[Tensor] = []

    def begin(self, utterances: Utterances) -> None:
        """See :class:`espnet_plugin.analysis.suite.measure.Measure`."""
        self._maps = []

    def look(self, block: int, maps: Tensor, lengths: Tensor) -> None:
        """Keeps the maps until :meth:`end`."""
        self._maps.append(maps)

    def end(self, states: Sequence[Tensor], lengths: Tensor) -> None:
        """See :class:`espnet_plugin.analysis.suite.measure.Measure`."""
        if self._maps:
            self.mean.update(self._maps, lengths)
        self._maps = []

    def merge(self, other: Similarity) -> None:
        """Add what another has compared."""
        self.mean.merge(other.mean)

    def state_dict(self) -> Dict[str, Any]:
        """The sums."""
        return self.mean.state_dict()

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace the sums by those of :meth:`state_dict`."""
        self.mean.load_state_dict(state)

    def result(self) -> Dict[str, Any]:
        """``sources`` and ``similarity``: blocks × blocks, 1 for blocks that share a map, None for
        those without one. None as a whole, with a ``reason``, where blocks cannot be compared."""
        sources = {"similarity": SOURCES["similarity"]}
        if self.reason is not None:
            return {"sources": sources, "similarity": None, "reason": self.reason}
        matrix = [[None if v != v else v for v in row] for row in self._matrix().tolist()]
        return {"sources": sources, "similarity": matrix}

    def arrays(self) -> Dict[str, np.ndarray]:
        """``similarity`` (L, L), NaN for blocks without a map."""
        return {} if self.reason is not None else {"similarity": self._matrix()}

    def tables(self) -> Dict[str, List[List[Any]]]:
        """The matrix; empty cells for blocks without a map."""
        matrix = self.result()["similarity"]
        if matrix is None:
            return {}
        head: List[List[Any]] = [["block", *range(self.blocks)]]
        return {"": head + [[block, *row] for block, row in enumerate(matrix)]}

    def _matrix(self) -> np.ndarray:
        place = {block: n for n, group in enumerate(self.groups) for block in group}
        order, blocks = [place[block] for block in sorted(place)], sorted(place)
        matrix = np.full((self.blocks, self.blocks), np.nan)
        matrix[np.ix_(blocks, blocks)] = self.mean.result().numpy()[np.ix_(order, order)]
        return matrix
