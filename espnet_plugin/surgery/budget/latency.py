"""How long a stack, and every stretch of blocks in it, takes on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from statistics import quantiles
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import torch
from torch import Tensor

from espnet_plugin.stacks.batches import Utterance, read_batch
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.state import State
from espnet_plugin.stacks.timing import Call
from espnet_plugin.surgery.budget.damage import entering
from espnet_plugin.surgery.budget.moves import Move

Speech = Tuple[Tensor, Tensor]

_WHOLE = "whole"


@dataclass(frozen=True)
class Clock:
    """How times are taken: calls in turn, compared round by round with the unedited stack.

    On one thread of the CPU it is the processor time of this process that counts, which other
    programs do not lengthen; otherwise the time on the wall.

    Attributes:
        rounds: at least so many.
        seconds: and for at least so long (but not more than 20 times the rounds).
        device: where the stacks are.
    """

    rounds: int = 15
    seconds: float = 1.0
    device: str = "cpu"

    def times(self, calls: Mapping[Any, Call]) -> Dict[Any, List[float]]:
        """Seconds of each call in each round, after one round to warm up."""
        alone = self.device == "cpu" and torch.get_num_threads() == 1
        now = time.process_time if alone else time.perf_counter
        found: Dict[Any, List[float]] = {name: [] for name in calls}
        spent = 0.0
        for turn in range(20 * self.rounds + 1):
            for name, call in calls.items():
                self._wait()
                start = now()
                call()
                self._wait()
                if turn:
                    found[name].append(now() - start)
                    spent += found[name][-1]
            if turn >= self.rounds and spent >= self.seconds:
                break
        return found

    def _wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()


def speech_of(utterances: Sequence[Utterance], seconds: float, batch: int) -> Speech:
    """Recordings joined and cut: (batch, N) samples and their lengths (batch,).

    They begin again at the start where there are too few.

    Raises:
        DataError: a recording that cannot be read.
        ValueError: no speech is asked for.
    """
    samples = round(seconds * utterances[0].rate)
    if samples < 1 or batch < 1:
        raise ValueError(f"nothing can be timed on {batch} utterances of {seconds:g} s")
    pieces: List[Tensor] = []
    while sum(map(len, pieces)) < samples * batch:
        _, speech, _ = read_batch([utterances[len(pieces) % len(utterances)]])
        pieces.append(speech[0])
    joined = torch.cat(pieces)[: samples * batch].reshape(batch, samples)
    return joined, torch.full((batch,), samples)


@torch.no_grad()
def outside_blocks(stack: Stack, speech: Speech, clock: Clock) -> Tuple[float, float]:
    """Seconds of the whole stack; and the share, 0 to 1, before block 0 and after the last."""

    @torch.no_grad()
    def without_blocks() -> Any:
        return stack.finish(stack.embed(*speech).x)

    times = clock.times({_WHOLE: _whole(stack, speech), "outside": without_blocks})
    shares = [o / w for w, o in zip(times[_WHOLE], times["outside"], strict=True)]
    return _middle(times[_WHOLE])[1], _middle(shares)[1]


@torch.no_grad()
def stretch_costs(
    stack: Stack, edited: Mapping[Move, Stack], speech: Speech, clock: Clock
) -> Dict[Move, float]:
    """What moves add to the time of a stack, as shares of it (below 0: it becomes faster).

    Each stretch is run as it is and as edited, in turn with the whole stack, from the state that
    enters it. The median over rounds counts; a move that is not faster in three rounds of four
    adds 0 at least.

    Args:
        edited: by move, the stack with that move alone.
    """
    states = entering(stack, stack.embed(*speech))
    costs: Dict[Move, float] = {}
    for first in sorted({move.first for move in edited}):
        mine = [move for move in edited if move.first == first]
        calls: Dict[Any, Call] = {_WHOLE: _whole(stack, speech)}
        for move in mine:
            end = move.last - first + 1
            calls[end] = _blocks(stack, states[first], first, move.last + 1)
            if not move.dropped:
                gone = len(stack.blocks) - len(edited[move].blocks)
                last = move.last + 1 - gone
                calls[move] = _blocks(edited[move], states[first], first, last)
        times = clock.times(calls)
        whole = times[_WHOLE]
        for move in mine:
            before = times[move.last - first + 1]
            after = times.get(move, [0.0] * len(whole))
            shares = [(a - b) / w for a, b, w in zip(after, before, whole, strict=True)]
            _, middle, high = _middle(shares)
            costs[move] = middle if high < 0 else max(middle, 0.0)
    return costs


@torch.no_grad()
def relative_times(
    stack: Stack, edited: Mapping[str, Stack], speech: Speech, clock: Clock
) -> Dict[str, Tuple[float, float, float]]:
    """Times of whole edited stacks as shares of the unedited stack's: quartiles over the rounds."""
    if not edited:
        return {}
    calls: Dict[Any, Call] = {_WHOLE: _whole(stack, speech)}
    calls.update({name: _whole(one, speech) for name, one in edited.items()})
    times = clock.times(calls)
    whole = times.pop(_WHOLE)
    return {
        name: _middle([a / w for a, w in zip(one, whole, strict=True)])
        for name, one in times.items()
    }


def _whole(stack: Stack, speech: Speech) -> Call:
    @torch.no_grad()
    def call() -> Any:
        return stack.output(*speech)

    return call


def _blocks(stack: Stack, state: State, first: int = 0, last: int | None = None) -> Call:
    @torch.no_grad()
    def call() -> Any:
        now = replace(state)
        for place in range(first, len(stack.blocks) if last is None else last):
            now = stack.step(place, now)
        return now

    return call


def _middle(values: Sequence[float]) -> Tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return low, middle, high
