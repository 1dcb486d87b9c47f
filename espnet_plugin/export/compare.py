"""An ONNX graph against the stack that it was made from, in onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from espnet_plugin.stacks.asr import log_probs
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.experiment import Experiment
from espnet_plugin.stacks.stack import Stack

TOLERANCE = 1e-4
"""Largest difference that is put down to rounding, for values up to 1; in proportion beyond."""


@dataclass(frozen=True)
class Difference:
    """How far a graph is from its stack on one batch."""

    frames: Tuple[int, ...]
    """Valid frames of each utterance."""
    largest: float
    """Of all valid outputs."""
    size: float
    """The largest valid output's magnitude."""

    @property
    def close(self) -> bool:
        """Whether it is rounding."""
        return self.largest <= TOLERANCE * max(1.0, self.size)


def compare(
    path: Path,
    stack: Stack,
    experiment: Optional[Experiment],
    batches: Sequence[Tuple[Tensor, Tensor]],
    name: str,
) -> List[Difference]:
    """Run the graph and the stack on each batch.

    Args:
        path: the graph.
        experiment: where the graph gives CTC posteriors.
        batches: inputs and lengths.
        name: of the graph, in errors.

    Raises:
        StackError: they differ by more than rounding.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0].name
    differences = []
    for inputs, lengths in batches:
        found = session.run(None, {first: inputs.numpy(), "lengths": lengths.numpy()})
        output, frames = (torch.from_numpy(array) for array in found)
        with torch.no_grad():
            expected, counts = (
                stack.output(inputs.clone(), lengths)
                if experiment is None
                else log_probs(experiment, stack, inputs.clone(), lengths)
            )
        if not torch.equal(frames, counts):
            raise StackError(
                f"{name}: the graph has {frames.tolist()} frames, not {counts.tolist()}"
            )
        difference = _difference(output, expected, counts)
        if not difference.close:
            raise StackError(
                f"{name}: the graph differs from the stack by {difference.largest:.1e} (outputs of "
                f"up to {difference.size:.1e}) on utterances of {list(difference.frames)} frames"
            )
        differences.append(difference)
    return differences


def _difference(output: Tensor, expected: Tensor, counts: Tensor) -> Difference:
    valid = torch.arange(expected.size(1)) < counts[:, None]
    largest = (output - expected).abs()[valid].max().item()
    return Difference(tuple(counts.tolist()), largest, expected.abs()[valid].max().item())
