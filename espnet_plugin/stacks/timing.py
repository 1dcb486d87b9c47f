"""How fast encoders run, side by side, and how much memory they take."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from statistics import median
from typing import Any, Callable, Dict, List, Sequence, Tuple

import torch

Call = Callable[[], Any]


def interleaved_seconds(
    calls: Dict[str, Call], repeats: int = 9, device: str = "cpu"
) -> Dict[str, List[float]]:
    """Run all calls in turn, ``repeats`` times after one round to warm up.

    Load of the machine that comes and goes then meets all alike. Compare by
    :func:`median_ratio`.

    Args:
        calls: what to run, by name.
        repeats: rounds that are timed.
        device: where they run; its work is waited for.

    Returns:
        Seconds of every round, by name.
    """
    times: Dict[str, List[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            _wait(device)
            start = time.perf_counter()
            call()
            _wait(device)
            if turn > 0:
                times[name].append(time.perf_counter() - start)
    return times


def median_ratio(first: Sequence[float], other: Sequence[float]) -> float:
    """How many times faster ``other`` is: the median over rounds of first / other."""
    return median(a / b for a, b in zip(first, other, strict=True))


def middle_half(first: Sequence[float], other: Sequence[float]) -> Tuple[float, float]:
    """Between what the rounds' ratios first / other are, without the quarters at both ends."""
    ratios = sorted(a / b for a, b in zip(first, other, strict=True))
    quarter = len(ratios) // 4
    return ratios[quarter], ratios[-1 - quarter]


def peak_bytes(call: Call, device: str = "cpu") -> int:
    """Memory that ``call`` needs at its peak beyond what is in use before.

    On the CPU the process's resident memory (Linux: the high-water mark is set back first), on a
    GPU what torch has allocated there.
    """
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc: give back what is free
    if trim is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call()
    return max(0, _status("VmHWM") - before)


def _status(key: str) -> int:
    """A line of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {key}")


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
