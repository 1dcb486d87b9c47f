"""What a decoding gives for an utterance and for a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Dict, List, Optional

if TYPE_CHECKING:
    from espnet_plugin.decode.lattice import Lattices


@dataclass(frozen=True)
class Hypothesis:
    """One utterance's result.

    Attributes:
        text: the words in one string; None if the model has no tokenizer and the graph no words.
        tokens: the tokens of the best path, as ESPnet's file ``token``.
        token_ids: their numbers.
        score: the path's total score, natural logarithm; −inf where there is no path, 0 where
            there are no frames.
        words: the graph's words; None if the graph has none (CTC topology, greedy).
        scores: the parts of ``score``, unscaled: ``am``, ``lm``, ``lexicon`` and what rescoring
            added (``attention``, ``nnlm``); for ``nbest_oracle`` also ``errors``, the number of
            errors against the reference.
    """

    text: Optional[str]
    tokens: List[str]
    token_ids: List[int]
    score: float
    words: Optional[List[str]] = None
    scores: Dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decoded:
    """One batch's result.

    Attributes:
        hypotheses: one per utterance, in the batch's order.
        lattices: the lattices of the utterances that have a path, as the search found them;
            None for ``greedy``.
        encoder_seconds: time from waveforms to posteriors.
        search_seconds: time from posteriors to lattices and, where nothing is rescored, to
            hypotheses.
        rescoring_seconds: time from lattices to hypotheses of the methods that rescore.
    """

    hypotheses: List[Hypothesis]
    lattices: Optional[Lattices]
    encoder_seconds: float
    search_seconds: float
    rescoring_seconds: float = 0.0
