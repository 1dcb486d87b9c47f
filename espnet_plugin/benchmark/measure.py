"""Sizes, operations, speed and memory of models, on the same speech and in turn."""

from __future__ import annotations

import os
import platform
from contextlib import contextmanager
from statistics import median
from typing import Any, Dict, Iterator, List, Optional, Sequence

import torch
from torch import Tensor

from espnet_plugin.benchmark.calls import encoder_call
from espnet_plugin.benchmark.models import BenchmarkError, Candidate
from espnet_plugin.compat import TooShortUttError, versions
from espnet_plugin.progress import progress
from espnet_plugin.stacks.batches import list_utterances, read_batch
from espnet_plugin.stacks.cost import count_parameters, macs_counter, macs_per_second
from espnet_plugin.stacks.timing import (
    Call,
    interleaved_seconds,
    median_ratio,
    middle_half,
    peak_bytes,
)


def measure(
    models: Sequence[Candidate],
    data_dir: str,
    seconds: Sequence[float],
    batches: Sequence[int],
    repeats: int,
    device: str = "cpu",
) -> Dict[str, Any]:
    """Everything; the content of ``benchmark.json``.

    Args:
        models: ratios are to the first.
        data_dir: a Kaldi directory with the speech to run on.
        seconds: lengths of the utterances.
        batches: how many of them at once.
        repeats: rounds that are timed; the median counts.
        device: where the models are.

    Raises:
        BenchmarkError, DataError: one line that names what cannot be used.
    """
    rates = {model.rate for model in models if model.rate is not None}
    longest = max(seconds)
    speech, _, rate = speech_of(data_dir, longest, 1, *rates)
    environment = {
        **versions(),
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "load average": round(os.getloadavg()[0], 1),
    }
    speech = speech.to(device)
    return {
        "environment": environment,
        "macs_seconds": longest,
        "macs_counter": macs_counter(),
        "models": {model.name: size(model, speech, rate) for model in models},
        "speeds": speeds(models, data_dir, seconds, batches, repeats, device),
    }


def speech_of(
    data_dir: str, seconds: float, batch: int, rate: Optional[int] = None
) -> tuple[Tensor, Tensor, int]:
    """Speech of a directory joined and cut: (batch, S) samples, (batch,) lengths, samples/s.

    It begins again at the start where the directory has too little.

    Raises:
        DataError: a recording that cannot be read, or has not ``rate`` samples/s if that is given.
    """
    utterances = list_utterances(data_dir, rate)
    rate = utterances[0].rate
    samples = round(seconds * rate)
    pieces: List[Tensor] = []
    while sum(map(len, pieces)) < samples * batch:
        _, speech, lengths = read_batch([utterances[len(pieces) % len(utterances)]])
        pieces.append(speech[0, : int(lengths[0])])
    joined = torch.cat(pieces)[: samples * batch].reshape(batch, samples)
    return joined, torch.full((batch,), samples), rate


def size(model: Candidate, speech: Tensor, rate: int) -> Dict[str, Any]:
    """Parameters, bytes of the files, operations per second of ``speech`` (1, S)."""
    with _long_enough(model, speech.size(1) / rate):
        macs = macs_per_second(model.module, speech, rate)
    parts = count_parameters(model.module)
    total = sum(parts.values())
    encoder = sum(count for part, count in parts.items() if part.startswith("encoder"))
    return {
        "kind": model.kind,
        "parameters": total,
        "encoder_parameters": total if model.kind == "stack" else encoder,
        "parts": parts,
        "checkpoint": ", ".join(map(str, model.files)),
        "checkpoint_bytes": model.file_bytes,
        "macs_per_second": macs,
    }


def speeds(
    models: Sequence[Candidate],
    data_dir: str,
    lengths: Sequence[float],
    batches: Sequence[int],
    repeats: int,
    device: str = "cpu",
) -> List[Dict[str, Any]]:
    """One row per length, batch and model: time, real-time factor, ratio to the first, memory."""
    rows = []
    cases = [(seconds, batch) for seconds in lengths for batch in batches]
    for seconds, batch in progress(cases, "benchmark"):
        speech, samples, _ = speech_of(data_dir, seconds, batch)
        speech, samples = speech.to(device), samples.to(device)
        calls: Dict[str, Call] = {}
        for model in models:
            with _long_enough(model, seconds):
                calls[model.name] = encoder_call(model.module, speech, samples)
        peaks = {name: peak_bytes(call, device) for name, call in calls.items()}
        times = interleaved_seconds(calls, repeats, device)
        first = next(iter(times.values()))
        for name, one in times.items():
            rows.append(
                {
                    "model": name,
                    "seconds": seconds,
                    "batch": batch,
                    "encoder_seconds": median(one),
                    "encoder_rtf": median(one) / (seconds * batch),
                    "speed_ratio": median_ratio(first, one),
                    "speed_ratio_middle_half": middle_half(first, one),
                    "peak_bytes": peaks[name],
                }
            )
    return rows


@contextmanager
def _long_enough(model: Candidate, seconds: float) -> Iterator[None]:
    """Say in one line of whom and what length it is that a model refuses speech."""
    try:
        yield
    except (TooShortUttError, ValueError) as error:
        raise BenchmarkError(f"--seconds {seconds:g}: {model.name}: {error}") from error
