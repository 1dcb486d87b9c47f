"""From lattices to hypotheses: what each decoding method does after the search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Union

import torch
from torch import Tensor

from espnet_plugin.decode.hypothesis import Hypothesis
from espnet_plugin.decode.scales import Scales
from espnet_plugin.decode.search import best_paths_in_parts
from espnet_plugin.decode.text import TokenText

if TYPE_CHECKING:
    import k2

    from espnet_plugin.decode.rescore.nbest import Path

METHODS = (
    "greedy",
    "ctc",
    "hlg",
    "nbest",
    "nbest_oracle",
    "nbest_rescoring",
    "whole_lattice_rescoring",
    "attention_rescoring",
)
FIRST_PASS = ("ctc", "hlg")
"""Methods that take the best path of the search."""
NEED_GRAPH = ("hlg", "nbest_rescoring", "whole_lattice_rescoring")
NEED_LM = ("nbest_rescoring", "whole_lattice_rescoring")
NO_GRAPH = ("greedy", "ctc")
FROM_LATTICES = ("hlg", "nbest", "nbest_oracle", "nbest_rescoring", "whole_lattice_rescoring")
"""Methods that need neither waveforms nor model once the lattices are there."""


def check_graph(method: str, there: bool) -> None:
    """Raise ValueError if a method lacks its graph or has one that it does not use."""
    if method in NEED_GRAPH and not there:
        raise ValueError(
            f"method {method} needs a graph over words: make one with "
            "espnet_plugin.bin.compile_graph and name it with --graph"
        )
    if method in NO_GRAPH and there:
        raise ValueError(f"method {method} uses no graph; the one for that is hlg")


class Rescorer:
    """The second pass of a decoding method.

    Args:
        method: one of :data:`METHODS`, ``greedy`` excepted.
        text: makes text from token numbers.
        words: the names of the lattices' output labels; None if these are tokens.
        scales: the weights of the parts of a score.
        lm: an ARPA file, or for ``whole_lattice_rescoring`` also a G.pt of ``compile_graph``.
        model: the ``ESPnetASRModel``, for ``attention_rescoring``.
        nnlm: an ESPnet language model over the model's tokens, for ``attention_rescoring``.
        num_paths: the length of n-best lists.
        nll_batch_size: hypotheses that the attention decoder or ``nnlm`` scores at once.
        device: where the lattices are.

    Raises:
        ValueError: if the method needs something that is missing.
    """

    def __init__(
        self,
        method: str,
        text: TokenText,
        words: Optional[Sequence[str]],
        scales: Optional[Scales] = None,
        lm: Any = None,
        model: Any = None,
        nnlm: Any = None,
        num_paths: int = 100,
        nll_batch_size: int = 100,
        device: Union[str, torch.device] = "cpu",
    ) -> None:
        if num_paths < 1 or nll_batch_size < 1:
            raise ValueError("num_paths and nll_batch_size must be 1 or above")
        if (method in NEED_LM) != (lm is not None):
            need = "needs an n-gram model: name an ARPA file" if lm is None else "uses no n-gram"
            raise ValueError(f"method {method} {need} (--lm)")
        if nnlm is not None and method != "attention_rescoring":
            raise ValueError(f"method {method} uses no ESPnet language model (--lm_file)")
        if method == "attention_rescoring" and getattr(model, "decoder", None) is None:
            raise ValueError(
                "method attention_rescoring needs a model with an attention decoder "
                "(trained with ctc_weight below 1); this one has none"
            )
        if method in NEED_GRAPH and words is None:
            raise ValueError(f"method {method} needs a graph over words (HLG or HL), not H")
        self.method, self.text, self.words = method, text, words
        self.scales = scales or Scales()
        self.model, self.nnlm = model, nnlm
        self.num_paths, self.nll_batch_size = num_paths, nll_batch_size
        self.device = device
        self.lm = self._load(lm)

    def __call__(
        self,
        lattice: k2.Fsa,
        names: Optional[Sequence[str]] = None,
        references: Optional[Sequence[str]] = None,
        hidden: Optional[Tensor] = None,
        lengths: Optional[Tensor] = None,
    ) -> List[Hypothesis]:
        """The method's hypothesis of every lattice.

        Args:
            lattice: an FsaVec with the attributes of :class:`espnet_plugin.decode.Lattices`.
            names: of the lattices, for the log.
            references: transcripts, for ``nbest_oracle``.
            hidden: (N, T, D) encoder output and
            lengths: (N,) its valid frames, for ``attention_rescoring``.
        """
        from espnet_plugin.decode.rescore import rank

        if self.method in FIRST_PASS:
            return self._first_best(lattice)
        if self.method == "whole_lattice_rescoring":
            return self._first_best(self.with_new_lm(lattice, names))
        paths = self._paths(lattice, names, hidden, lengths)
        if self.method == "nbest_oracle":
            return self._oracle(paths, references)
        return [self._chosen(ranked[0], {}) for ranked in rank(paths, self.scales)]

    def _load(self, lm: Any) -> Any:
        from espnet_plugin.decode.rescore.grammar import GrammarTables
        from espnet_plugin.lm import NGram

        if lm is None:
            return None
        if self.method == "nbest_rescoring":
            return lm if isinstance(lm, NGram) else NGram.load(lm)
        assert self.words is not None
        return GrammarTables.load(lm, self.words, self.device)

    def with_new_lm(self, lattice: k2.Fsa, names: Optional[Sequence[str]]) -> k2.Fsa:
        """The lattices with the scores of ``lm``, for ``whole_lattice_rescoring``."""
        from espnet_plugin.decode.rescore.whole_lattice import whole_lattice_rescoring

        return whole_lattice_rescoring(lattice, self.lm, self.scales, names=names)

    def _paths(
        self,
        lattice: k2.Fsa,
        names: Optional[Sequence[str]],
        hidden: Optional[Tensor],
        lengths: Optional[Tensor],
    ) -> List[List[Path]]:
        from espnet_plugin.decode import rescore

        paths = rescore.nbest_paths(lattice, self.num_paths, names=names)
        if self.method == "nbest_rescoring":
            return rescore.ngram_rescoring(paths, self.lm, self.to_words)
        if self.method == "attention_rescoring":
            assert hidden is not None and lengths is not None, "the encoder's output is needed"
            return rescore.attention_rescoring(
                paths, self.model, hidden, lengths, self.nnlm, self.nll_batch_size
            )
        return paths

    def _oracle(
        self, paths: List[List[Path]], references: Optional[Sequence[str]]
    ) -> List[Hypothesis]:
        from espnet_plugin.decode.rescore import nbest_oracle

        if references is None:
            raise ValueError("method nbest_oracle needs the reference text of every utterance")
        words = [reference.split() for reference in references]
        found = nbest_oracle(paths, words, self.to_words)
        return [
            self._chosen(path, {"errors": float(counts.errors)})
            for path, counts in found
            if path is not None
        ]

    def to_words(self, labels: Sequence[int]) -> List[str]:
        """The words of output labels; of tokens those of their text."""
        if self.words is not None:
            return [self.words[label] for label in labels]
        text, tokens = self.text(labels)
        return tokens if text is None else text.split()

    def _first_best(self, lattice: k2.Fsa) -> List[Hypothesis]:
        return [
            self._hypothesis(
                best.labels,
                best.tokens,
                best.score,
                {"am": best.am_score, "lm": best.lm_score, "lexicon": best.lexicon_score},
            )
            for best in best_paths_in_parts(lattice)
        ]

    def _chosen(self, path: Path, more: Dict[str, float]) -> Hypothesis:
        parts = {"am": path.am_score, "lm": path.lm_score, "lexicon": path.lexicon_score}
        return self._hypothesis(
            list(path.labels),
            list(path.tokens),
            path.score(self.scales),
            {**parts, **path.extra, **more},
        )

    def _hypothesis(
        self, labels: List[int], tokens: List[int], score: float, scores: Dict[str, float]
    ) -> Hypothesis:
        if self.words is None:
            tokens = labels  # of the CTC topology: also right where equal tokens meet
        text, names = self.text(tokens)
        if self.words is None:
            return Hypothesis(text, names, tokens, score, None, scores)
        words = [self.words[label] for label in labels]
        return Hypothesis(" ".join(words), names, tokens, score, words, scores)
