"""A decoding graph with all that a decoding needs besides the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence, Union

import torch
from torch import Tensor

from espnet_plugin.atomic import PathLike, atomic_open
from espnet_plugin.compat import require_k2, torch_load
from espnet_plugin.decode.graph.topology import begun_tokens, ctc_topology

if TYPE_CHECKING:
    import k2

FORMAT = 1
"""The version of the file format; a file of another one is refused and compiled anew."""


@dataclass(frozen=True)
class Graph:
    """A decoding graph.

    Attributes:
        fsa: an arc-sorted transducer. ``labels`` are the tokens of frames, ``aux_labels``
            (int32, one an arc) what is said, 0 for nothing: words (HL, HLG) or tokens (H).
            A word stands on an arc of its last token. ``lm_scores`` and ``lexicon_scores``
            (float32, natural logarithm) are the parts of G and of L; ``scores`` is their sum.
            In the modified topology ``tokens`` (int32) are the tokens that begin on the arcs,
            0 for none: there the frames' tokens do not tell where one ends and an equal one
            begins.
        kind: "H", "HL" or "HLG".
        topology: "standard" or "modified".
        tokens: the V names of the CTC outputs, the blank first.
        words: ``words[i]`` is the word of output label i, ``words[0]`` is ``<eps>``; None for H.
    """

    fsa: k2.Fsa
    kind: str
    topology: str
    tokens: List[str]
    words: Optional[List[str]]

    def __post_init__(self) -> None:
        if self.topology == "modified":
            self.fsa.tokens = begun_tokens(self.fsa)

    def to(self, device: Union[str, torch.device]) -> Graph:
        """The same graph on another device."""
        return Graph(self.fsa.to(device), self.kind, self.topology, self.tokens, self.words)

    def save(self, path: PathLike) -> None:
        """Write the graph to one file, whole or not at all.

        Only tensors and plain values are stored. H is stored as its tokens and topology, from
        which :meth:`load` builds it faster than it would be read.
        """
        content = {
            "format": FORMAT,
            "kind": self.kind,
            "topology": self.topology,
            "tokens": list(self.tokens),
            "words": None if self.words is None else list(self.words),
        }
        if self.kind != "H":
            content["arcs"] = _pack(self.fsa)
        with atomic_open(path, "wb") as stream:
            torch.save(content, stream)

    @classmethod
    def load(cls, path: PathLike, device: Union[str, torch.device] = "cpu") -> Graph:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no graph, or of another version of the format.
            ImportError: k2 is not installed.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such decoding graph; compile_graph writes one")
        content = torch_load(path)
        if not isinstance(content, dict) or "kind" not in content or "topology" not in content:
            raise ValueError(f"{path}: not a decoding graph; compile_graph writes one")
        if content["format"] != FORMAT:
            raise ValueError(
                f"{path}: graph format {content['format']}, but this version reads {FORMAT}: "
                f"compile it again"
            )
        kind, topology = content["kind"], content["topology"]
        tokens, words = content["tokens"], content["words"]
        if kind == "H":
            return ctc_graph(tokens, topology, device)
        return cls(_unpack(content["arcs"]).to(device), kind, topology, tokens, words)


def ctc_graph(
    tokens: Sequence[str], topology: str = "standard", device: Union[str, torch.device] = "cpu"
) -> Graph:
    """The graph H over a model's token list (V names, the blank first), for decoding to tokens.

    Raises:
        ValueError: an unknown topology or fewer than two tokens.
        ImportError: k2 is not installed.
    """
    fsa = ctc_topology(len(tokens), topology, device)
    # Zeros that nobody reads cost no memory: the pages are never touched.
    fsa.lm_scores = torch.zeros(fsa.num_arcs, device=fsa.device)
    fsa.lexicon_scores = torch.zeros(fsa.num_arcs, device=fsa.device)
    return Graph(fsa, "H", topology, list(tokens), None)


def make_fsa(arcs: Tensor, aux_labels: Tensor, lm: Tensor, lexicon: Tensor) -> k2.Fsa:
    """A transducer whose scores are the sum of two parts.

    Args:
        arcs: (A, 4) int32 sources, targets, labels and nothing yet, sorted as k2 sorts.
        aux_labels: (A) int32 output labels.
        lm: (A) float32 natural logarithms.
        lexicon: (A) float32 natural logarithms.
    """
    k2 = require_k2()
    arcs[:, 3] = (lm + lexicon).view(torch.int32)
    fsa = k2.Fsa(arcs)
    fsa.aux_labels, fsa.lm_scores, fsa.lexicon_scores = aux_labels, lm, lexicon
    return fsa


def _pack(fsa: k2.Fsa) -> dict[str, Tensor]:
    arcs = fsa.arcs.values()
    counts = torch.bincount(arcs[:, 0].long(), minlength=fsa.shape[0])
    return {
        "counts": counts.to(torch.int32).cpu(),
        "targets": arcs[:, 1].cpu(),
        "labels": arcs[:, 2].cpu(),
        "aux_labels": fsa.aux_labels.cpu(),
        "lm_scores": fsa.lm_scores.cpu(),
        "lexicon_scores": fsa.lexicon_scores.cpu(),
    }


def _unpack(packed: dict[str, Tensor]) -> k2.Fsa:
    counts = packed["counts"]
    arcs = torch.empty(len(packed["targets"]), 4, dtype=torch.int32)
    states = torch.arange(len(counts), dtype=torch.int32)
    arcs[:, 0] = torch.repeat_interleave(states, counts.long())
    arcs[:, 1] = packed["targets"]
    arcs[:, 2] = packed["labels"]
    return make_fsa(arcs, packed["aux_labels"], packed["lm_scores"], packed["lexicon_scores"])
