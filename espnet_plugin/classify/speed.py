"""How long the full network and its mimics take, side by side."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Any, Dict, List, Mapping

import torch

from espnet_plugin.classify.recordings import Recordings
from espnet_plugin.stacks.cost import MacCounter
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.timing import median_ratio
from espnet_plugin.surgery.budget.latency import Clock

FULL = "full"
"""Name of the network that all are compared with."""


def compare_speed(
    stacks: Mapping[str, Stack], recordings: Recordings, batch_seconds: float, repeats: int = 15
) -> Dict[str, Any]:
    """Time ``recordings`` through every stack, in turn in one process, on the CPU.

    On one thread processor time counts, which other programs do not lengthen; otherwise the time
    on the wall.

    Args:
        stacks: by name; :data:`FULL` must be among them. In evaluation mode.
        recordings: all of them go through in every round.
        batch_seconds: of the batches, padding included; 0: each recording by itself.
        repeats: rounds that are timed.

    Returns:
        ``seconds`` of speech, ``threads``, ``torch``, and ``stacks``: by name, for ``model``
        (waveform to last hidden state) and ``blocks`` (without what is before block 0), median
        ``seconds``, ``share`` of the full network's (median of the rounds' ratios) and ``macs``.
    """
    batches = recordings.batches(max(batch_seconds, 1e-9))  # a long one is a batch by itself
    read = [batches.read(batch)[1:] for batch in batches.epoch(0)]
    found: Dict[str, Any] = {name: {} for name in stacks}
    clock = Clock(repeats, 0.0)
    for part in ("model", "blocks"):
        calls = {name: _call(stack, read, part) for name, stack in stacks.items()}
        times = clock.times(calls)
        for name, call in calls.items():
            with MacCounter() as counter:
                call()
            found[name][part] = {
                "seconds": median(times[name]),
                "share": 1 / median_ratio(times[FULL], times[name]),
                "macs": counter.macs,
            }
    return {
        "seconds": recordings.seconds,
        "recordings": len(recordings.utterances),
        "batches": len(read),
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "stacks": found,
    }


def _call(stack: Stack, read: List[Any], part: str) -> Any:
    with torch.no_grad():
        states = [] if part == "model" else [stack.embed(*batch) for batch in read]

    @torch.no_grad()
    def model() -> None:
        for batch in read:
            stack.output(*batch)

    @torch.no_grad()
    def blocks() -> None:
        for state in states:
            state = replace(state)
            for place in range(len(stack.blocks)):
                state = stack.step(place, state)
            stack.finish(state.x)

    return model if part == "model" else blocks
