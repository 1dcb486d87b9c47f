"""Scales that give the fewest errors on a set, found from its lattices or n-best lists."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Callable, Dict, List, Sequence, Tuple

import numpy as np

from espnet_plugin.decode.rescore.nbest import Path
from espnet_plugin.decode.rescore.oracle import count_words
from espnet_plugin.decode.scales import Scales, set_scores
from espnet_plugin.decode.search import best_paths
from espnet_plugin.score.counts import Counts

if TYPE_CHECKING:
    import k2

NEUTRAL = {"acoustic": 1.0, "hlg": 1.0, "lm": 1.0, "attention": 1.0, "nnlm": 1.0, "word": 0.0}


@dataclass(frozen=True)
class Trial:
    """One setting and the errors it gives on the whole set."""

    scales: Scales
    counts: Counts


def grid(**values: Sequence[float]) -> List[Scales]:
    """All combinations of scales: ``grid(hlg=(0.8, 1, 1.2), acoustic=(1, 2))``.

    Those not named have the value 1, ``word`` 0; they matter only where a path has a part of
    that kind.
    """
    chosen = {**{name: (value,) for name, value in NEUTRAL.items()}, **values}
    return [Scales(**dict(zip(chosen, one, strict=True))) for one in product(*chosen.values())]


class Tuner:
    """Counts the errors of many settings at once, batch by batch.

    Args:
        settings: what to try, see :func:`grid`.
        to_words: from a path's labels to its words.
    """

    def __init__(
        self, settings: Sequence[Scales], to_words: Callable[[Sequence[int]], Sequence[str]]
    ) -> None:
        self.settings = list(settings)
        self.to_words = to_words
        self.counts = [Counts() for _ in self.settings]

    def add_nbest(
        self, nbest: Sequence[Sequence[Path]], references: Sequence[Sequence[str]]
    ) -> None:
        """Count the best path of every list in every setting.

        Args:
            nbest: one list per utterance. They stay the same for all settings, so they should
                be long enough to hold what the extreme ones prefer. An utterance whose list is
                empty has all words deleted.
            references: the words of each utterance's reference.
        """
        for paths, reference in zip(nbest, references, strict=True):
            chosen = self._choose(paths) if paths else [()] * len(self.settings)
            self._count(chosen, reference)

    def add_lattice(self, lattice: k2.Fsa, references: Sequence[Sequence[str]]) -> None:
        """Count the best path of every lattice of an FsaVec in every setting.

        Exact in ``acoustic``, ``hlg``, ``lm`` and ``word``; lattices know nothing of the others.
        """
        chosen = [best_paths(set_scores(lattice, scales))[0] for scales in self.settings]
        for i, reference in enumerate(references):
            self._count([tuple(labels[i]) for labels in chosen], reference)

    def trials(self) -> List[Trial]:
        """The table: settings with the errors so far, in the order of ``settings``."""
        return [Trial(*one) for one in zip(self.settings, self.counts, strict=True)]

    def best(self) -> Trial:
        """The setting with the fewest errors; of several the one closest to the neutral values."""
        return min(self.trials(), key=lambda t: (t.counts.errors, _from_neutral(t.scales)))

    def _choose(self, paths: Sequence[Path]) -> List[Tuple[int, ...]]:
        parts = np.array(
            [
                [p.am_score, p.lm_score, p.lexicon_score]
                + [p.extra.get(name, 0.0) for name in ("attention", "nnlm")]
                + [len(p.labels)]
                for p in paths
            ]
        )
        weights = np.array(
            [[s.acoustic, s.hlg * s.lm, s.hlg, s.attention, s.nnlm, s.word] for s in self.settings]
        )
        return [paths[k].labels for k in (parts @ weights.T).argmax(axis=0)]

    def _count(self, chosen: Sequence[Tuple[int, ...]], reference: Sequence[str]) -> None:
        known: Dict[Tuple[int, ...], Counts] = {}
        for k, labels in enumerate(chosen):
            if labels not in known:
                known[labels] = count_words(reference, self.to_words(labels))
            self.counts[k] += known[labels]


def _from_neutral(scales: Scales) -> float:
    return sum(abs(getattr(scales, name) - value) for name, value in NEUTRAL.items())
