"""HL and HLG: L∘G written down without epsilons, then H in front of it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import torch

from espnet_plugin.compat import require_k2
from espnet_plugin.decode.graph.expand import expand
from espnet_plugin.decode.graph.graph import Graph
from espnet_plugin.decode.graph.lexicon_grammar import lexicon_grammar
from espnet_plugin.decode.graph.transducer import trim
from espnet_plugin.decode.lang.langdir import LangDir

if TYPE_CHECKING:
    import k2

logger = logging.getLogger(__name__)


def hlg_graph(lang: LangDir, grammar: k2.Fsa, topology: str = "standard") -> Graph:
    """The decoding graph of a lexicon and a grammar.

    Args:
        lang: the language directory.
        grammar: :func:`load_grammar` over ``lang.words``.
        topology: "standard" or "modified".

    Returns:
        HLG; see :func:`lexicon_grammar` and :func:`expand` for how it is made.

    Raises:
        ValueError: an unknown topology, a grammar without a sentence, or a graph that is too
            large for k2.
    """
    return _compose(lang, grammar, "HLG", topology)


def hl_graph(lang: LangDir, topology: str = "standard") -> Graph:
    """The decoding graph of a lexicon alone: any sequence of words, each at no cost.

    Raises:
        ValueError: an unknown topology, or a graph that is too large for k2.
    """
    return _compose(lang, any_words(len(lang.words)), "HL", topology)


def any_words(size: int) -> k2.Fsa:
    """The grammar of all sequences of the words 1 … ``size`` − 1, with score 0."""
    words = torch.arange(1, size + 1, dtype=torch.int32)
    arcs = torch.zeros(size, 4, dtype=torch.int32)
    arcs[:, 2] = words
    arcs[-1] = torch.tensor([0, 1, -1, 0])
    grammar = require_k2().Fsa(arcs)
    grammar.lm_scores = grammar.scores.clone()
    return grammar


def _compose(lang: LangDir, grammar: k2.Fsa, kind: str, topology: str) -> Graph:
    start = time.monotonic()
    composed = trim(lexicon_grammar(lang, grammar))
    logger.info(
        "%s: %d states, %d arcs, %.1f s",
        kind[1:],
        composed.num_states,
        len(composed.arcs),
        time.monotonic() - start,
    )
    start = time.monotonic()
    fsa = expand(composed, len(lang.tokens), topology)
    logger.info(
        "%s: %d states, %d arcs, %.1f s",
        kind,
        fsa.shape[0],
        fsa.num_arcs,
        time.monotonic() - start,
    )
    return Graph(fsa, kind, topology, lang.tokens, lang.words)
