"""Which frames the words of a lattice's path take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

import torch

from espnet_plugin.decode.align.boundaries import SILENCES
from espnet_plugin.decode.align.units import SPACE, WORD_START
from espnet_plugin.decode.rescore.oracle import token_units, word_units

if TYPE_CHECKING:
    import k2


@dataclass(frozen=True)
class Word:
    """A word of a path.

    Attributes:
        text: the word; for a lattice of tokens its pieces, joined.
        labels: the output labels that it is made of: one word, or its tokens.
        first: frame in which its first token begins.
        last: frame in which its last token ends.
    """

    text: str
    labels: Tuple[int, ...]
    first: int
    last: int


@dataclass
class _Spike:
    token: int
    first: int
    last: int
    outputs: List[int]


class Labels:
    """What a store's labels mean.

    Args:
        meta: ``tokens`` and ``words`` (None for lattices of tokens) of a store's ``meta.json``.

    Raises:
        ValueError: ``meta`` has no ``tokens``.
    """

    def __init__(self, meta: Dict[str, Any]) -> None:
        if not meta.get("tokens"):
            raise ValueError("meta.json names no tokens; decode again to store lattices with them")
        self.tokens: List[str] = meta["tokens"]
        self.words: Optional[List[str]] = meta.get("words")
        self.marked = any(token.startswith(WORD_START) for token in self.tokens)
        self.spaced = SPACE in self.tokens
        self.silences = {i for i, t in enumerate(self.tokens) if t.upper() in SILENCES}

    def text(self, labels: Sequence[int]) -> str:
        """Words of output labels, with spaces."""
        if self.words is not None:
            return " ".join(self.words[label] for label in labels)
        tokens = [self.tokens[label] for label in labels]
        if self.marked:
            return "".join(tokens).replace(WORD_START, " ").strip()
        if self.spaced:
            return "".join(tokens).replace(SPACE, " ").strip()
        return " ".join(tokens)

    def units(self) -> List[str]:
        """What each output label adds to the text, for the oracle."""
        if self.words is not None:
            return word_units(self.words)
        kind = "bpe" if self.marked else "char" if self.spaced else "word"
        return token_units(self.tokens, kind)

    def _begins(self, spike: _Spike) -> bool:
        return self.tokens[spike.token].startswith(WORD_START)

    def _groups(self, spikes: List[_Spike]) -> List[List[_Spike]]:
        """The spikes of every word."""
        groups: List[List[_Spike]] = []
        if self.words is None and self.spaced:
            open_word = False
            for spike in spikes:
                if self.tokens[spike.token] == SPACE:
                    open_word = False
                    continue
                groups = groups if open_word else [*groups, []]
                groups[-1].append(spike)
                open_word = True
            return groups
        if self.marked:
            for spike in spikes:
                if not groups or self._begins(spike):
                    groups.append([])
                groups[-1].append(spike)
            outputs = [sum(len(spike.outputs) for spike in group) for group in groups]
            if self.words is None or all(count == 1 for count in outputs):
                return groups
        # Otherwise a word ends with the token that puts it out, as in our graphs.
        groups = [[]]
        for spike in spikes:
            if spike.token not in self.silences or spike.outputs:
                groups[-1].append(spike)
            if spike.outputs:
                groups.append([])
        return groups[:-1]

    def align(self, path: PathArcs) -> List[Word]:
        """The words of a path with their frames."""
        words = []
        for group in self._groups(_spikes(path)):
            labels = tuple(label for spike in group for label in spike.outputs)
            text = self.text(labels)
            if text:  # a word boundary mark alone is none
                words.append(Word(text, labels, group[0].first, group[-1].last))
        return words


@dataclass(frozen=True)
class PathArcs:
    """The arcs of a path, one entry per frame.

    Attributes:
        labels: tokens of the frames, 0 the blank.
        begins: whether a token begins in the frame.
        outputs: output labels above 0.
    """

    labels: List[int]
    begins: List[bool]
    outputs: List[List[int]]


def read_paths(lattice: k2.Fsa, arcs: Optional[Sequence[Sequence[int]]] = None) -> List[PathArcs]:
    """Paths of an FsaVec as lists.

    Args:
        lattice: with the attribute ``frame`` and, for the modified topology, ``tokens`` (what
            the topology puts out), on any device.
        arcs: the arcs of every path, as places in the FsaVec; None: each of its FSAs is one path.
    """
    if arcs is None:
        splits = lattice.arcs.shape().row_splits(2)[lattice.arcs.shape().row_splits(1).long()]
        bounds = splits.tolist()
        arcs = [range(*pair) for pair in zip(bounds[:-1], bounds[1:], strict=True)]
    frames, labels = lattice.frame.tolist(), lattice.labels.tolist()
    starts = getattr(lattice, "tokens", None)
    begun = starts.tolist() if isinstance(starts, torch.Tensor) else None
    outputs = lattice.aux_labels.tolist()
    paths = []
    for own in arcs:
        rows = [arc for arc in own if frames[arc] >= 0]
        symbols = [labels[arc] for arc in rows]
        if begun is not None:
            begins = [begun[arc] > 0 for arc in rows]
        else:
            before = [0, *symbols]
            begins = [s > 0 and s != b for s, b in zip(symbols, before[:-1], strict=True)]
        out = [_positive(outputs[arc]) for arc in rows]
        paths.append(PathArcs(symbols, begins, out))
    return paths


def _positive(value: Any) -> List[int]:
    return [label for label in (value if isinstance(value, list) else [value]) if label > 0]


def _spikes(path: PathArcs) -> List[_Spike]:
    spikes: List[_Spike] = []
    for frame, label in enumerate(path.labels):
        if path.begins[frame]:
            spikes.append(_Spike(label, frame, frame, []))
        elif label > 0 and spikes:
            spikes[-1].last = frame
        if path.outputs[frame]:
            if not spikes:
                spikes.append(_Spike(label, frame, frame, []))
            spikes[-1].outputs.extend(path.outputs[frame])
    return spikes
