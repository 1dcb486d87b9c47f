"""Padded batches of attention maps as pieces without padding, small enough for the cache."""

from __future__ import annotations

from typing import Iterator, Sequence, Tuple, Union

import torch

Lengths = Union[torch.Tensor, Sequence[int]]
Where = Tuple[slice, slice]

_CPU_ELEMENTS = 1 << 18
_GPU_ELEMENTS = 1 << 25


def check_maps(maps: torch.Tensor, lengths: Lengths) -> torch.Tensor:
    """The lengths as an int64 tensor on the CPU, after checking both.

    Args:
        maps: (B, H, T, T), floating.
        lengths: (B,) whole numbers from 1 to T.

    Raises:
        TypeError: maps or lengths of a wrong type.
        ValueError: wrong shapes, or a length below 1 or above T (named by its place).
    """
    if not maps.is_floating_point():
        raise TypeError(f"attention maps must be floating point, not {maps.dtype}")
    if maps.dim() != 4 or maps.shape[2] != maps.shape[3]:
        raise ValueError(f"attention maps must be (B, H, T, T), not {tuple(maps.shape)}")
    lengths = torch.as_tensor(lengths)
    if lengths.numel() and (lengths.is_floating_point() or lengths.dtype == torch.bool):
        raise TypeError(f"lengths must be whole numbers, not {lengths.dtype}")
    if lengths.shape != maps.shape[:1]:
        raise ValueError(
            f"lengths must be ({maps.shape[0]},) for these maps, not {tuple(lengths.shape)}"
        )
    lengths = lengths.to("cpu", torch.int64)
    for place, length in enumerate(lengths.tolist()):
        if not 1 <= length <= maps.shape[-1]:
            raise ValueError(
                f"lengths[{place}] is {length}; it must be from 1 to {maps.shape[-1]} frames"
            )
    return lengths


@torch.no_grad()
def pieces(maps: torch.Tensor, lengths: torch.Tensor) -> Iterator[Tuple[Where, int, torch.Tensor]]:
    """Cut maps (B, H, T, T) into valid parts of utterances of one length.

    Neighbouring utterances of equal length stay together as far as the cache allows, so equal
    lengths cost no loop over utterances.

    Args:
        maps, lengths: as checked by :func:`check_maps`.

    Yields:
        where in (B, H) the piece lies; its frames T_u; the piece (b, h, T_u, T_u): a view for
        float32 and float64, a float32 copy for shorter types.
    """
    maps = maps.detach()
    for where, frames in piece_slices(maps.shape[1], lengths, maps.is_cuda):
        piece = maps[where][..., :frames, :frames]
        yield where, frames, piece if maps.dtype == torch.float64 else piece.float()


def piece_slices(heads: int, lengths: torch.Tensor, gpu: bool) -> Iterator[Tuple[Where, int]]:
    """Where the pieces of a batch with these lengths lie, and the frames of each."""
    limit = _GPU_ELEMENTS if gpu else _CPU_ELEMENTS
    start = 0
    values = lengths.tolist()
    while start < len(values):
        frames = values[start]
        size = frames * frames
        step = max(1, limit // (heads * size)) if heads else len(values)
        stop = start + 1
        while stop < len(values) and values[stop] == frames and stop - start < step:
            stop += 1
        width = heads if heads * size <= limit else max(1, limit // size)
        for head in range(0, heads, width):
            yield (slice(start, stop), slice(head, head + width)), frames
        start = stop
