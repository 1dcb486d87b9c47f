"""An n-gram acceptor G as tables: the next state and score of many words at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from espnet_plugin.atomic import PathLike
from espnet_plugin.lm.ngram import UNK

if TYPE_CHECKING:
    import k2

MISSING = -99.0 * math.log(10.0)
"""The natural log probability of a word that a model does not have: the zero of ARPA files."""

END = -1
"""Stands for the end of the sentence among the labels."""


class GrammarTables:
    """G with its backoff arcs followed only where a state lacks the word.

    That is what a back-off model means. (Taking these arcs for free epsilons, as a composition
    does, gives the same best paths for models whose explicit probabilities are never below the
    backed-off ones, interpolated ones for example, but counts paths several times.)

    Args:
        grammar: what :func:`espnet_plugin.decode.graph.grammar.load_grammar` gives: labels are
            word ids, 0 on backoff arcs, −1 to the final state.
        unknown: the word that stands for all the grammar does not have; None if there is none.

    Attributes:
        num_states: states of G; the start is 0.
    """

    def __init__(self, grammar: k2.Fsa, unknown: Optional[int] = None) -> None:
        arcs = grammar.arcs.values().long()
        source, target, label = arcs[:, 0], arcs[:, 1], arcs[:, 2]
        scores = grammar.scores.detach().double()
        self.num_states = int(grammar.shape[0])
        self.unknown = unknown
        self.base = int(label.max()) + 2 if len(label) else 2
        self.known = torch.zeros(self.base, dtype=torch.bool, device=arcs.device)
        self.known[label + 1] = True
        self.known[1] = False
        spoken = label != 0
        self.keys, order = (source * self.base + label + 1)[spoken].sort()
        self.targets, self.scores = target[spoken][order], scores[spoken][order]
        self.backoff = source.new_full((self.num_states,), -1)
        self.backoff[source[~spoken]] = target[~spoken]
        self.backoff_scores = scores.new_zeros(self.num_states)
        self.backoff_scores[source[~spoken]] = scores[~spoken]

    @classmethod
    def load(
        cls, path: PathLike, words: Sequence[str], device: Union[str, torch.device] = "cpu"
    ) -> GrammarTables:
        """The tables of an ARPA file, or of a grammar that ``compile_graph`` wrote.

        Args:
            path: the file.
            words: the words of the decoding graph; ``words[i]`` has label i. The model's
                ``<unk>`` stands for those it does not have. A grammar of ``compile_graph`` has
                it only if it is one of ``words``.
            device: of the lattices that will be rescored.

        Raises:
            FileNotFoundError, ValueError, ImportError: as
                :func:`espnet_plugin.decode.graph.grammar.load_grammar`.
        """
        from espnet_plugin.decode.graph.grammar import load_grammar

        names = list(words)
        if not str(path).endswith(".pt"):
            names += [name for name in UNK if name not in words]
        tables = cls(load_grammar(path, names).to(device))
        unknown = torch.tensor([names.index(name) for name in UNK if name in names])
        known = unknown[tables.has(unknown.to(device)).cpu()].tolist() if len(unknown) else []
        tables.unknown = known[0] if known else None
        return tables

    def has(self, labels: Tensor) -> Tensor:
        """Which of the (M,) labels the grammar has anywhere."""
        inside = labels < self.base - 1
        return inside & self.known[torch.where(inside, labels + 1, labels.new_ones(()))]

    def step(self, states: Tensor, labels: Tensor) -> Tuple[Tensor, Tensor]:
        """Read one word in each of many states.

        Args:
            states: (M,) int64.
            labels: (M,) int64 word ids, or :data:`END`.

        Returns:
            (M,) the states after it and (M,) float64 natural log probabilities. A word that the
            grammar does not have is read as ``unknown``; without that it has the score
            :data:`MISSING`, and what follows it has no context.
        """
        reached, total = states.clone(), torch.zeros(len(states), dtype=torch.float64)
        total = total.to(states.device)
        other = self.unknown if self.unknown is not None else 0  # 0 is never found
        labels = torch.where(self.has(labels), labels, labels.new_full((), other))
        todo = torch.arange(len(states), device=states.device)
        while len(todo):
            keys = reached[todo] * self.base + labels[todo] + 1
            places = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
            hit = self.keys[places] == keys
            found, places = todo[hit], places[hit]
            total[found] += self.scores[places]
            reached[found] = self.targets[places]
            todo = todo[~hit]
            back = self.backoff[reached[todo]]
            lost = todo[back < 0]
            total[lost] = MISSING
            todo, back = todo[back >= 0], back[back >= 0]
            total[todo] += self.backoff_scores[reached[todo]]
            reached[todo] = back
        return reached, total
