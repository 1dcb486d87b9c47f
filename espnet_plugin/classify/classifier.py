"""A stack with a linear head on the mean of its output."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from espnet_plugin.atomic import PathLike, atomic_open
from espnet_plugin.classify.recordings import long_enough
from espnet_plugin.compat import torch_load
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.stack import Stack

FORMAT = "espnet_plugin head 1"


class Classifier(nn.Module):
    """A linear head on the mean over valid frames of a stack's output.

    Args:
        stack: takes waveforms of 16 kHz; of any family, edited or not.
        labels: one for each class, in the order of the logits.
        head: (classes, width) linear; None: a new one.

    Raises:
        ValueError: a stack that takes features, labels that are not distinct or fewer than two, or
            a head of another shape.
    """

    def __init__(
        self, stack: Stack, labels: Sequence[str], head: Optional[nn.Linear] = None
    ) -> None:
        super().__init__()
        if stack.takes != "waveform":
            raise ValueError("the stack takes features; a classifier needs one of waveforms")
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise ValueError(f"a classifier needs distinct labels, two or more, not {labels}")
        self.stack = stack
        self.labels = tuple(labels)
        self.head = nn.Linear(stack.width, len(labels)) if head is None else head
        if tuple(self.head.weight.shape) != (len(labels), stack.width):
            raise ValueError(
                f"a head of {tuple(self.head.weight.shape)} for {len(labels)} labels and a stack "
                f"of width {stack.width}"
            )

    def forward(self, waveforms: Tensor, lengths: Optional[Tensor] = None) -> Tensor:
        """Logits (B, classes).

        Args:
            waveforms: (B, N), zero after each end.
            lengths: (B,) samples; None: all are full. Those that are too short for a frame count
                as longer: see :func:`espnet_plugin.classify.recordings.long_enough`.
        """
        if lengths is None:
            lengths = waveforms.new_full((len(waveforms),), waveforms.size(1), dtype=torch.int64)
        hidden, frames = self.stack.output(*long_enough(waveforms, lengths))
        return self.head(mean_pool(hidden, frames))

    def save(self, directory: PathLike) -> None:
        """Write ``stack.pt`` (the stack, see :meth:`Stack.save`) and ``head.pt``."""
        self.stack.save(Path(directory) / "stack.pt")
        content = {
            "format": FORMAT,
            "labels": list(self.labels),
            "tensors": dict(self.head.state_dict()),
        }
        with atomic_open(Path(directory) / "head.pt", "wb") as stream:
            torch.save(content, stream)

    @classmethod
    def load(cls, directory: PathLike) -> Classifier:
        """Read what :meth:`save` wrote, in evaluation mode; runs no code from the files.

        Raises:
            StackError: one line that names the file and what is wrong with it.
        """
        directory = Path(directory)
        labels, head = load_head(directory / "head.pt")
        stack = load_stack(directory / "stack.pt")
        try:
            return cls(stack, labels, head).eval()
        except ValueError as error:
            raise StackError(f"{directory}: {error}") from None


def load_head(path: PathLike) -> Tuple[Tuple[str, ...], nn.Linear]:
    """The labels and the linear layer of a ``head.pt``.

    Raises:
        StackError: one line that names the file and what is wrong with it.
    """
    if not Path(path).is_file():
        raise StackError(f"{path}: not there; train a classifier first")
    try:
        content: Dict[str, Any] = torch_load(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        weight = content["tensors"]["weight"]
        head = nn.Linear(weight.shape[1], weight.shape[0])
        head.load_state_dict(content["tensors"])
        return tuple(str(label) for label in content["labels"]), head
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        said = " ".join(str(error).split())
        raise StackError(f"{path}: not a saved head: {said}") from None


def mean_pool(hidden: Tensor, frames: Tensor) -> Tensor:
    """The mean over valid frames.

    Args:
        hidden: (B, T, D).
        frames: (B,) valid ones, 1 or more.

    Returns:
        (B, D).
    """
    real = torch.arange(hidden.size(1), device=hidden.device) < frames[:, None]
    total = hidden.masked_fill(~real.unsqueeze(-1), 0.0).sum(dim=1)
    return total / frames[:, None].to(hidden.dtype)
