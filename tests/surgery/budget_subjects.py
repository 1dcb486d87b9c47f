"""Small stacks and recordings for tests of budgets and orders."""

from __future__ import annotations

from pathlib import Path
from typing import List, Sequence

import numpy as np
import soundfile
import torch
from small_stacks import small_stack

from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.subject import Subject


def recordings(folder: Path, frames: Sequence[int] = (60, 37, 48, 52), seed: int = 3) -> Path:
    """A Kaldi directory; ``frames``: hidden frames of each utterance for the small stacks."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed)
    lines = []
    for number, count in enumerate(frames):
        path = folder / f"u{number}.wav"
        samples = 0.1 * noise.standard_normal((count - 1) * 20 + 45)
        soundfile.write(path, samples, 16000, subtype="FLOAT")
        lines.append(f"u{number} {path}")
    (folder / "wav.scp").write_text("\n".join(lines) + "\n")
    return folder


def subject(kind: str = "hubert", blocks: int = 4, idle: Sequence[int] = ()) -> Subject:
    """A stack in float32; the blocks ``idle`` of a norm-first one give what they get."""
    stack = small_stack(kind, blocks, dtype=torch.float32)
    for block in idle:
        make_idle(stack, block)
    return Subject(Path("small"), stack)


def make_idle(stack: Stack, block: int) -> None:
    """Zero what a norm-first block adds."""
    parts: List = [stack.blocks[block].attention.out, stack.blocks[block].feed_forward.contract]
    for part in parts:
        part.weight.data.zero_()
        part.bias.data.zero_()
