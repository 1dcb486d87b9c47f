"""What passes from block to block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

import torch
from torch import Tensor

from espnet_plugin.encoders.maps import Maps

Look = Callable[[Tensor], None]
Edit = Callable[[Tensor], Tensor]


@dataclass
class State:
    """What enters a block and, with ``x`` and ``maps`` changed, leaves it."""

    x: Tensor
    """The hidden state (B, T, D)."""
    lengths: Tensor
    """Valid frames (B,), int64."""
    mask: Optional[Tensor] = None
    """(B, T), true on valid frames; None where nothing is padded."""
    positions: Optional[Tensor] = None
    """What the attention of the family wants to know about positions: a Conformer's embedding, or
    WavLM's bias by distance (H, 2T-1)."""
    maps: Optional[Maps] = None
    """The last leader's map (B, H, T, T), after dropout, for the blocks that follow it; of a leader
    with a window only the band."""
    window: Optional[int] = None
    """Frames that this block attends to on both sides; None: all."""
    keep_maps: bool = False
    """Whether the next block follows, so that this one must leave its map in ``maps``."""
    look: Optional[Look] = None
    """When set, the block calls it with its map (B, H, T, T), after softmax, before dropout."""
    edit: Optional[Edit] = None
    """When set, what it makes of the block's map (B, H, T, T), before ``look`` sees it, takes its
    place; blocks that follow get that one."""

    @property
    def explicit(self) -> bool:
        """Whether somebody asks for this block's map."""
        return self.keep_maps or self.look is not None or self.edit is not None

    @property
    def near(self) -> Optional[int]:
        """The window, or None where it hides no frame of the longest utterance.

        While tracing, the window stays: the trace must serve longer utterances too.
        """
        if torch.jit.is_tracing():
            return self.window
        hides = self.window is not None and self.window < self.x.size(1) - 1
        return self.window if hides else None

    @property
    def ends(self) -> Optional[Tensor]:
        """``lengths``, or None where nothing is padded."""
        return None if self.mask is None else self.lengths


def mask_of(lengths: Tensor, frames: int) -> Optional[Tensor]:
    """(B, frames), true on valid frames, or None where all are.

    While tracing, the mask stays: the trace must serve padded batches too.
    """
    mask = torch.arange(frames, device=lengths.device) < lengths[:, None]
    return mask if torch.jit.is_tracing() or not bool(mask.all()) else None


def zero_padding(x: Tensor, mask: Optional[Tensor]) -> Tensor:
    """(B, T, D) with zeros where the mask (B, T) is false; ``x`` itself where there is no mask."""
    return x if mask is None else x.masked_fill(~mask.unsqueeze(-1), 0.0)
