"""Small stacks to teach others."""

from __future__ import annotations

from typing import Any

import torch

from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.actions import Action
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, StackDescription

SMALL: dict[str, Any] = {
    "conv_layers": ((16, 10, 5), (16, 8, 8), (16, 4, 4), (16, 4, 4)),  # 40 ms per frame
    "width": 16,
    "blocks": 5,
    "heads": 2,
    "feed_forward": 24,
    "pos_kernel": 8,
    "pos_groups": 4,
}


def make_teacher(**changes: Any) -> Wav2Vec2Stack:
    """A stack whose blocks all do something, with dropout and layer drop as in the base models."""
    torch.manual_seed(0)
    stack = Wav2Vec2Stack(Wav2Vec2Config(**{**SMALL, **changes}))
    for name, parameter in stack.blocks.named_parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.3)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return stack.eval()


def edited(teacher: Stack, *actions: Action) -> Stack:
    """The teacher with these actions carried out."""
    return apply_plan(
        teacher, BlockPlan(StackDescription(teacher.family, len(teacher.blocks)), actions)
    )
