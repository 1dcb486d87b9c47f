"""How the parts of a score are weighed against each other: the one place that says it.

A path's parts are natural logarithms, unscaled:

====================  =========================================================================
``am_score``          sum over its frames of the CTC log posterior of the frame's label
``lm_score``          n-gram model: the graph's, or the one that rescoring put in its place
``lexicon_score``     pronunciation and silence probabilities of the lexicon
``attention``         log probability of its tokens by the model's attention decoder
``nnlm``              log probability of its tokens by an ESPnet language model
``words``             how many output labels it has: words, or tokens without a graph over words
====================  =========================================================================

Its total score is ::

    acoustic * am_score + hlg * (lm * lm_score + lexicon_score) + word * words
        + attention * attention_score + nnlm * nnlm_score

where a part that was not computed counts 0. The same formula without the last line gives the
scores of a lattice's arcs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Mapping

import torch
from torch import Tensor

if TYPE_CHECKING:
    import k2


@dataclass(frozen=True)
class Scales:
    """The weights of the parts.

    Attributes:
        acoustic: of the CTC posteriors.
        hlg: of the decoding graph's scores, n-gram model and lexicon together.
        lm: of the n-gram model's within these. A search with a compiled graph knows only their
            sum and so needs 1; lattices and n-best lists take any value.
        nbest: multiplies a lattice's scores before paths are drawn from it at random; below 1
            the draw is more varied. It has no part in a path's score.
        attention: of the attention decoder (ESPnet's ``decoder_weight``).
        nnlm: of the ESPnet language model (ESPnet's ``nnlm_weight``).
        word: added for each word; below 0 it is Kaldi's word insertion penalty.

    Raises:
        ValueError: if one of them is not finite or, except ``word``, negative, or ``nbest`` is 0.
    """

    acoustic: float = 1.0
    hlg: float = 1.0
    lm: float = 1.0
    nbest: float = 0.5
    attention: float = 0.5
    nnlm: float = 1.0
    word: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not math.isfinite(value):
                raise ValueError(f"the scale {field.name} must be a number, not {value}")
            if value < 0 and field.name != "word":
                raise ValueError(f"the scale {field.name} must be 0 or above, not {value}")
        if self.nbest == 0:
            raise ValueError("the scale nbest must be above 0")

    def combine(self, am: Any, lm: Any, lexicon: Any, words: Any) -> Any:
        """Score of a lattice's arcs or paths from their parts: numbers, arrays or tensors."""
        return self.acoustic * am + self.hlg * (self.lm * lm + lexicon) + self.word * words

    def combine_extra(self, extra: Mapping[str, Any]) -> Any:
        """What ``attention`` and ``nnlm`` in ``extra`` add to it; 0 where there are none."""
        return sum(
            getattr(self, name) * extra[name] for name in ("attention", "nnlm") if name in extra
        )


def set_scores(lattice: k2.Fsa, scales: Scales) -> k2.Fsa:
    """The lattice with the scores of its arcs computed anew from their parts.

    Args:
        lattice: an Fsa or FsaVec with the float attributes ``am_scores``, ``lm_scores`` and
            ``lexicon_scores`` on its arcs; it is not changed.
        scales: the weights of these.

    Raises:
        ValueError: if an attribute is not there.
    """
    check_parts(lattice)
    scaled = lattice.clone()
    parts = (lattice.am_scores, lattice.lm_scores, lattice.lexicon_scores)
    scaled.scores = scales.combine(*parts, word_counts(lattice))
    return scaled


def word_counts(fsa: k2.Fsa) -> Tensor:
    """How many output labels above 0 each arc of a graph or lattice has: (A,), float32."""
    labels = fsa.aux_labels
    if isinstance(labels, Tensor):
        return (labels > 0).float()
    row_ids, row_splits = labels.shape.row_ids(1).long(), labels.shape.row_splits(1)
    counts = torch.zeros(len(row_splits) - 1, device=row_ids.device)
    return counts.index_add_(0, row_ids, (labels.values > 0).float())


def check_parts(lattice: k2.Fsa) -> None:
    """Raise ValueError unless the lattice's arcs carry the parts of their scores."""
    for name in ("am_scores", "lm_scores", "lexicon_scores"):
        if not hasattr(lattice, name):
            raise ValueError(
                f"the lattice has no {name} on its arcs: make it with "
                "espnet_plugin.decode.find_lattices"
            )
