"""What a search may need: k2's 32-bit indices, memory, and how their lack shows."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Union

import torch

from espnet_plugin.decode.lattice import Beams

if TYPE_CHECKING:
    import k2

INT32 = 2**31 - 1
GIB = 2**30
# What torch, C++ and k2 say when memory is short; k2's own checks all end in its last phrase.
SIGNS = ("allocate memory", "out of memory", "bad_alloc", "Some bad things happened")


def beyond_int32(graph: k2.Fsa, frames: List[int], vocab: int, beams: Beams) -> Optional[str]:
    """Say why k2 cannot search a batch, or None: it numbers everything with 32 bits.

    Three things can be bounded before a search: the elements of the dense input, the arcs that
    are followed in one frame (no more than leave the ``max_active_states`` states with most
    arcs, in all utterances), and the states of all frames.

    Args:
        graph: the decoding graph, shared by the batch.
        frames: of every utterance.
        vocab: the number V of CTC outputs.
        beams: of the search.
    """
    rows = sum(frames) + len(frames)
    active = min(beams.max_active_states, graph.shape[0])
    degrees = torch.diff(graph.arcs.row_splits(1).long())
    arcs = int(torch.topk(degrees, active).values.sum())
    for count, what in (
        (rows * (vocab + 1), "posteriors"),
        (len(frames) * arcs, "arcs of a frame"),
        (rows * active, "states"),
    ):
        if count > INT32:
            return f"up to {count:.1e} {what}, and k2 numbers no more than {INT32:.1e}"
    return None


def lack_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a search or a model found too little memory."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


def available_memory() -> int:
    """Bytes that new processes can take without swapping (Linux; 0 where it is not known)."""
    try:
        with open("/proc/meminfo") as stream:
            sizes = (line.split()[1] for line in stream if line.startswith("MemAvailable:"))
            return int(next(sizes, 0)) * 1024
    except OSError:
        return 0


def limit_memory(gibibytes: float, device: Union[str, torch.device] = "cpu") -> None:
    """Let this process take so much more memory than it has now, and not more.

    On the CPU an allocation beyond it fails (``RLIMIT_AS``). In k2's own threads that ends the
    process, so this is for a process that another one watches over: see
    :mod:`espnet_plugin.decode.watch`. On a GPU torch raises ``OutOfMemoryError``.
    """
    device = torch.device(device)
    extra = int(gibibytes * GIB)
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        share = (torch.cuda.memory_reserved(device) + extra) / total
        torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, hard))
