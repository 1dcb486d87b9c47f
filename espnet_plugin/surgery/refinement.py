"""The best refinement of a model's attention that a block plan can express.

Source: Yang, Liu, Lee, Interspeech 2020 (arXiv 2006.03265), section "refinement": the most global
heads are dropped, or the span is limited. Here the heads may be dropped in any of the orders, both
can be done together, and the choice is made on one half of the utterances and checked on the other
[I]. A window's rows are normalised anew, as those of ``local_attention`` are.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from espnet_plugin.analysis.heads.head_curves import Points
from espnet_plugin.analysis.heads.ranking import pruned_counts
from espnet_plugin.analysis.heads.recognition import Errors
from espnet_plugin.analysis.sums.resample import Resampling, interval
from espnet_plugin.surgery.actions import Action, LocalAttention, PruneHeads
from espnet_plugin.surgery.head_masks import Head
from espnet_plugin.surgery.plan import BlockPlan, StackDescription


@dataclass(frozen=True)
class Variant:
    """One way to refine a model."""

    heads: Tuple[Head, ...] = ()
    """Those that are dropped."""
    order: Optional[str] = None
    """The order whose first heads they are."""
    window: Optional[int] = None
    """Frames that all blocks attend to on both sides; None: all frames."""

    @property
    def name(self) -> str:
        """To be read."""
        parts = []
        if self.heads:
            parts.append(f"{len(self.heads)} heads by {self.order} dropped")
        if self.window is not None:
            parts.append(f"window {self.window}")
        return ", ".join(parts) or "unedited"

    def plan(
        self, description: StackDescription, heads: Mapping[int, int], because: str = ""
    ) -> BlockPlan:
        """The plan that carries it out.

        Args:
            description: of the stack.
            heads: block -> how many heads it has, of the blocks with a map of their own.
            because: the reason for each action.
        """
        by_block: Dict[int, List[int]] = defaultdict(list)
        for block, head in self.heads:
            by_block[block].append(head)
        actions: List[Action] = [
            PruneHeads(block, tuple(sorted(chosen))) for block, chosen in sorted(by_block.items())
        ]
        if self.window is not None:
            left = [block for block in sorted(heads) if len(by_block[block]) < heads[block]]
            actions += [LocalAttention(block, self.window) for block in left]
        reasons = tuple(because for _ in actions) if because else ()
        return BlockPlan(description, tuple(actions), reasons)


LEAST = 2
"""Utterances with tokens that choose a refinement; the interval of one has no width."""


def halves(utterances: int) -> Tuple[List[int], List[int]]:
    """Every second utterance, to choose by, and the others, to check with.

    Raises:
        ValueError: fewer than two.
    """
    if utterances < 2:
        raise ValueError(f"{utterances} utterances cannot be halved; the choice needs two or more")
    return list(range(0, utterances, 2)), list(range(1, utterances, 2))


def refine(
    points: Points,
    orders: Mapping[str, Sequence[Head]],
    windows: Sequence[int],
    measure: str,
    chosen_by: Sequence[int],
    parts: int = 6,
    together: int = 2,
) -> Tuple[Variant, List[Tuple[Variant, Errors]]]:
    """The variant that surely makes the fewest errors on some of the utterances.

    Heads dropped in each order at 1/parts, …, all; each window; and the best ``together`` of both
    kinds combined. The best is the one whose rise of the error rate has the lowest upper end of its
    95 % interval (a bootstrap over pairs): of so many variants one is always better than the
    model by luck. Of equal ones that which drops more heads, then that with the narrower window is
    taken, then the earlier. Where no interval lies below 0, or fewer than :data:`LEAST`
    utterances have anything to be wrong at, that is the model as it is.

    Args:
        points: of the model, which is a stack.
        orders: name -> all heads, as
            :func:`espnet_plugin.analysis.heads.ranking.importance_orders` gives them.
        windows: 1 frame or more.
        measure: of the errors, see :class:`espnet_plugin.analysis.heads.recognition.Recognition`.
        chosen_by: places of the utterances that decide.

    Returns:
        The best variant, and all that were measured.
    """
    dropped = [
        Variant(tuple(sorted(order[:count])), name)
        for name, order in orders.items()
        for count in pruned_counts(len(order), parts)[1:]
    ]
    limited = [Variant(window=window) for window in windows]
    tried = [(Variant(), points.unedited())]
    tried += [(variant, points.masked(variant.heads)) for variant in dropped]
    tried += [(variant, points.span(variant.window, renormalise=True)) for variant in limited]

    drawn = Resampling(len(chosen_by))

    def some(errors: Errors) -> np.ndarray:
        return drawn.rates([errors[measure][utterance] for utterance in chosen_by])

    before = some(points.unedited())

    def highest(variant: Variant) -> float:
        return interval(some(dict(tried)[variant]) - before)[1]

    def ranked(variants: Sequence[Variant]) -> List[Variant]:
        place = {variant: n for n, (variant, _) in enumerate(tried)}

        def key(variant: Variant) -> Tuple[float, int, float, int]:
            window = float("inf") if variant.window is None else variant.window
            return highest(variant), -len(variant.heads), window, place[variant]

        return sorted(variants, key=key)

    description, heads = _description(points), _heads(points)
    for first in ranked(dropped)[:together]:
        for second in ranked(limited)[:together]:
            both = Variant(first.heads, first.order, second.window)
            tried.append((both, points.plan(both.plan(description, heads))))
    best = ranked([variant for variant, _ in tried])[0]
    counted = sum(points.unedited()[measure][place][1] > 0 for place in chosen_by)
    return best if counted >= LEAST and highest(best) < 0 else Variant(), tried


def _description(points: Points) -> StackDescription:
    subject = points.subject
    return StackDescription(subject.family, subject.blocks, str(subject.path))


def _heads(points: Points) -> Dict[int, int]:
    return {block: points.subject.heads[block] for block in points.subject.leaders}
