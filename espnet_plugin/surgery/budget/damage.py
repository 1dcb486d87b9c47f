"""What an edit does to what a stack says, before anything is healed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional

from espnet_plugin.analysis.probes.capacity import Capacity
from espnet_plugin.stacks.asr import log_probs
from espnet_plugin.stacks.batches import Utterance, plan_batches, read_batch
from espnet_plugin.stacks.stack import Stack, follows
from espnet_plugin.stacks.state import State, zero_padding
from espnet_plugin.surgery.subject import Subject

Head = Callable[[Tensor], Tensor]

MEASURES = {
    True: "KL divergence of the CTC posteriors from the original's, nats per frame",
    False: "1 - cosine of the last hidden state with the original's, mean over frames",
}
"""What damage is without a task, by whether the model has a CTC layer."""


class Damage:
    """Damage of edits of one stack on some speech.

    With a CTC layer it is the mean over valid frames of KL(original || edited) of its posteriors
    (nats); without one that of 1 - cosine of the last hidden states (frames in which one of them is
    zero count as 1).

    What enters each block of the unedited stack is kept, so that an edit is run from the first
    block on that it touches. That takes 4 bytes x frames x width x (blocks + 1).

    Args:
        subject: the model.
        utterances: what it is measured on.
        batch_seconds: speech of a batch.
    """

    @torch.no_grad()
    def __init__(
        self, subject: Subject, utterances: Sequence[Utterance], batch_seconds: float = 60.0
    ) -> None:
        self.stack = subject.stack
        self.head: Optional[Head] = None
        if subject.experiment is not None:
            self.head = subject.experiment.model.ctc.log_softmax
        device = next(self.stack.parameters()).device
        self._batches: List[Tuple[List[State], Tensor]] = []
        for batch in plan_batches(list(utterances), batch_seconds):
            _, speech, lengths = read_batch(batch)
            speech, lengths = speech.to(device), lengths.to(device)
            states = entering(self.stack, self.stack.embed(speech, lengths))
            if subject.experiment is not None:
                said = log_probs(subject.experiment, self.stack, speech, lengths)[0]
            else:
                said = self._said(self.stack, states[-1])
            self._batches.append((states[:-1], said))

    @torch.no_grad()
    def __call__(self, edited: Stack, first: int = 0) -> float:
        """The damage of an edit of the stack.

        Args:
            edited: what :func:`espnet_plugin.surgery.apply.apply_plan` made of the stack.
            first: the first place that the edit touches, or one before it.
        """
        total, count = 0.0, 0
        for states, said in self._batches:
            state = replace(states[first])
            for place in range(first, len(edited.blocks)):
                state = edited.step(place, state)
            valid = _valid(state)
            total += float(self._differ(said, self._said(edited, state))[valid].double().sum())
            count += int(valid.sum())
        return total / count

    def _said(self, stack: Stack, state: State) -> Tensor:
        x = zero_padding(stack.finish(state.x), state.mask)
        return x if self.head is None else self.head(x)

    def _differ(self, original: Tensor, edited: Tensor) -> Tensor:
        """(B, T)."""
        if self.head is None:
            return 1 - functional.cosine_similarity(original, edited, dim=-1)
        terms = original.exp() * (original - edited)
        return terms.masked_fill(original == -torch.inf, 0.0).sum(-1)


TIE = 1e-6
"""How much of the divergence :class:`Lost` adds."""


class Lost:
    """Damage as the predictive capacity that an edit loses, 0 where it loses none.

    A capacity that counts is coarse: of plans that lose equally much, the one whose outputs are
    nearer to the original's does less damage, by :data:`TIE` times its :class:`Damage`.

    Args:
        divergence: of the unedited stack, on the same speech.
        capacity: of it and of its edits.
    """

    def __init__(self, divergence: Damage, capacity: Capacity) -> None:
        self.divergence, self.capacity = divergence, capacity
        self.original = capacity(divergence.stack)

    def __call__(self, edited: Stack, first: int = 0) -> float:
        """As :meth:`Damage.__call__`."""
        lost = max(0.0, self.original - self.capacity(edited))
        return lost + TIE * self.divergence(edited, first)


def entering(stack: Stack, state: State) -> List[State]:
    """What enters each block, and what leaves the last one."""
    states = [state]
    for place in range(len(stack.blocks)):
        state = stack.step(place, replace(state))
        led = any(follows(block) for block in stack.blocks[place + 1 : place + 2])
        states.append(state if led else replace(state, maps=None))
    return states


def first_touched(actions: Sequence[Any]) -> int:
    """The first block on whose output actions have any bearing; 0 if there are none."""
    named = [b for a in actions for b in (*a.touched, getattr(a, "leader", a.touched[0]))]
    return min(named, default=0)


def _valid(state: State) -> Tensor:
    """(B, T), true on valid frames."""
    if state.mask is not None:
        return state.mask
    return torch.ones(state.x.shape[:2], dtype=torch.bool, device=state.x.device)
