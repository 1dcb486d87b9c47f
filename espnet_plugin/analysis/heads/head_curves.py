"""What is left of a model as its heads are pruned or see less: curves, each point measured once.

Source: Yang, Liu, Lee, Interspeech 2020 (arXiv 2006.03265); nothing is trained afterwards.
"""

from __future__ import annotations

import json
from typing import Any, Callable, ContextManager, Dict, Iterable, List, Mapping, Optional, Sequence

from torch import nn

from espnet_plugin.analysis.heads.ranking import pruned_counts
from espnet_plugin.analysis.heads.recognition import Errors
from espnet_plugin.analysis.suite.subject import Subject
from espnet_plugin.decode.journal import Journal
from espnet_plugin.progress import progress
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.head_masks import Head, limited_span, masked_heads
from espnet_plugin.surgery.plan import BlockPlan

SPANS = (50, 25, 15, 5, 3, 2, 1, 0)
"""The paper's, after no limit."""

Evaluate = Callable[[Optional[nn.Module]], Errors]


class Points:
    """Errors of a model by edit.

    Args:
        subject: the model.
        evaluate: the errors of an edited stack; of None those of the subject's encoder as it is.
        journal: keeps what was measured; those that it knows are not measured again.
    """

    def __init__(
        self, subject: Subject, evaluate: Evaluate, journal: Optional[Journal] = None
    ) -> None:
        self.subject, self._evaluate, self._journal = subject, evaluate, journal
        entries = [] if journal is None else journal.entries
        self._known: Dict[str, Errors] = {e["edit"]: _pairs(e["errors"]) for e in entries}

    def unedited(self) -> Errors:
        """Of the model as it is."""
        return self._point("unedited", lambda: self._evaluate(None))

    def masked(self, heads: Iterable[Head]) -> Errors:
        """With the maps of ``heads`` multiplied by zero; see :func:`masked_heads`."""
        chosen = sorted(heads)
        if not chosen:
            return self.unedited()
        key = json.dumps(["masked", chosen])
        return self._point(key, lambda: self._within(masked_heads(self.subject.encoder, chosen)))

    def span(self, span: Optional[int], renormalise: bool) -> Errors:
        """With the span of all blocks limited; None: not at all; see :func:`limited_span`."""
        if span is None:
            return self.unedited()
        key = json.dumps(["span", span, renormalise])
        return self._point(
            key, lambda: self._within(limited_span(self.subject.encoder, span, renormalise))
        )

    def plan(self, plan: BlockPlan) -> Errors:
        """With a plan carried out on the stack."""
        stack = self.subject.stack
        assert stack is not None
        actions = [[a.do, *sorted(a.arguments().items())] for a in plan.actions]
        if not actions:
            return self.unedited()
        return self._point(
            json.dumps(["plan", actions]), lambda: self._evaluate(apply_plan(stack, plan))
        )

    def _within(self, edit: ContextManager[None]) -> Errors:
        with edit:
            return self._evaluate(None)

    def _point(self, key: str, measure: Callable[[], Errors]) -> Errors:
        if key not in self._known:
            self._known[key] = measure()
            if self._journal is not None:
                self._journal.add({"edit": key, "errors": self._known[key]})
        return self._known[key]


def pruning_curves(
    points: Points, orders: Mapping[str, Sequence[Head]], parts: int = 6
) -> Dict[str, List[Errors]]:
    """The errors at 0, 1/parts, …, all heads pruned, in each order.

    Args:
        points: of the model.
        orders: name -> all heads, those to be pruned first at the beginning.
        parts: steps of a curve.
    """
    wanted = [
        (name, order[:count])
        for name, order in orders.items()
        for count in pruned_counts(len(order), parts)
    ]
    curves: Dict[str, List[Errors]] = {name: [] for name in orders}
    for name, heads in progress(wanted, "prune heads (points)"):
        curves[name].append(points.masked(heads))
    return curves


def span_curves(points: Points, spans: Sequence[int] = SPANS) -> Dict[str, List[Errors]]:
    """The errors with no limit and with each span: ``plain`` rows, and ``renormalised`` ones."""
    limits: List[Optional[int]] = [None, *spans]
    curves: Dict[str, List[Errors]] = {"plain": [], "renormalised": []}
    wanted = [(name, limit) for name in curves for limit in limits]
    for name, limit in progress(wanted, "limit spans (points)"):
        curves[name].append(points.span(limit, renormalise=name == "renormalised"))
    return curves


def single_heads(points: Points, heads: Iterable[Head]) -> Dict[Head, Errors]:
    """The errors with one head pruned, of each."""
    return {head: points.masked([head]) for head in progress(sorted(heads), "single heads")}


def _pairs(errors: Mapping[str, Any]) -> Errors:
    return {name: [(int(a), int(b)) for a, b in pairs] for name, pairs in errors.items()}
