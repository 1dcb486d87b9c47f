"""Small stacks with random parameters, saved as checkpoints for encoders to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

SMALL: dict[str, Any] = {
    "conv_layers": ((16, 10, 5), (16, 8, 4), (16, 4, 4), (16, 4, 4)),  # 20 ms per frame
    "width": 32,
    "blocks": 4,
    "heads": 4,
    "feed_forward": 64,
    "pos_kernel": 8,
    "pos_groups": 4,
    "layer_drop": 0.0,
    "input_dropout": 0.0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}


def small_stack(**changes: Any) -> Wav2Vec2Stack:
    """A wav2vec 2.0 stack of four blocks of width 32, without dropout."""
    torch.manual_seed(0)
    stack = Wav2Vec2Stack(Wav2Vec2Config(**{**SMALL, **changes}))
    torch.nn.init.normal_(stack.frontend.mask_embedding)
    return stack.eval()


def small_checkpoint(directory: Path, **changes: Any) -> str:
    """The file of :func:`small_stack`."""
    small_stack(**changes).save(directory / "small.pt")
    return str(directory / "small.pt")
