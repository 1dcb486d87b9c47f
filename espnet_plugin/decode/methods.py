"""From lattices to hypotheses: what each decoding method does after the search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from torch import Tensor

from espnet_plugin.decode.hypothesis import Hypothesis
from espnet_plugin.decode.scales import Scales
from espnet_plugin.decode.search import best_paths_in_parts
from espnet_plugin.decode.text import TokenText

if TYPE_CHECKING:
    import k2

    from espnet_plugin.decode.rescore.nbest import Path

UNKNOWN = ("<unk>", "<UNK>")
"""Names of the word for all others."""
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
        if self.method in FIRST_PASS:
            return self._first_best(lattice)
        if self.method == "whole_lattice_rescoring":
            return self._first_best(self._with_new_lm(lattice, names))
        return [self._best(paths) for paths in self._paths(lattice, names, hidden, lengths)]

    def _load(self, lm: Any) -> Any:
        from espnet_plugin.decode.graph.grammar import load_grammar
        from espnet_plugin.decode.rescore.grammar import GrammarTables
        from espnet_plugin.lm import NGram

        if lm is None:
            return None
        if self.method == "nbest_rescoring":
            return lm if isinstance(lm, NGram) else NGram.load(lm)
        assert self.words is not None
        unknown = next((w for w in UNKNOWN if w in self.words), None)
        grammar = load_grammar(lm, self.words)
        if self.model is not None:
            grammar = grammar.to(next(self.model.parameters()).device)
        return GrammarTables(grammar, None if unknown is None else self.words.index(unknown))

    def _with_new_lm(self, lattice: k2.Fsa, names: Optional[Sequence[str]]) -> k2.Fsa:
        from espnet_plugin.decode.rescore.whole_lattice import whole_lattice_rescoring

        return whole_lattice_rescoring(lattice, self.lm, self.scales, names=names)

    def _paths(
        self,
        lattice: k2.Fsa,
        names: Optional[Sequence[str]],
        hidden: Optional[Tensor],
        lengths: Optional[Tensor],
    ) -> List[List[Path]]:
        from espnet_plugin.decode.rescore import nbest
        from espnet_plugin.decode.rescore.ngram import ngram_rescoring

        paths = nbest.nbest_paths(lattice, self.num_paths, names=names)
        if self.method == "nbest_rescoring":
            return ngram_rescoring(paths, self.lm, self._to_words)
        return paths

    def _to_words(self, labels: Sequence[int]) -> List[str]:
        assert self.words is not None
        return [self.words[label] for label in labels]

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

    def _best(self, paths: Sequence[Path]) -> Hypothesis:
        best = max(paths, key=lambda path: path.score(self.scales))
        parts = {"am": best.am_score, "lm": best.lm_score, "lexicon": best.lexicon_score}
        return self._hypothesis(
            list(best.labels), list(best.tokens), best.score(self.scales), {**parts, **best.extra}
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
