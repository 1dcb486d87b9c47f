"""The form of a stack that tracing turns into a graph for every batch and length."""

from __future__ import annotations

from typing import Optional, Tuple

from torch import Tensor, nn

from espnet_plugin.encoders.onednn import adopt
from espnet_plugin.export.positions import with_positions
from espnet_plugin.export.spectrum import Spectrum, exportable_normalize
from espnet_plugin.stacks.asr import log_probs
from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.experiment import Experiment
from espnet_plugin.stacks.stack import Stack


class Encoder(nn.Module):
    """What is exported: inputs and lengths to the last hidden state, or to CTC posteriors.

    Args:
        stack: edited or not.
        experiment: gives the CTC layer; None: hidden states.

    Raises:
        StackError: a front end that has no exportable form.
    """

    def __init__(self, stack: Stack, experiment: Optional[Experiment] = None) -> None:
        super().__init__()
        self.stack = _traceable(stack)
        self.experiment = experiment
        self.ctc: Optional[nn.Module] = None if experiment is None else experiment.model.ctc

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
        """(B, N) samples or (B, T, F) features, and (B,), to (B, T', D or V) and (B,)."""
        if self.experiment is None:
            return self.stack.output(inputs, lengths)
        return log_probs(self.experiment, self.stack, inputs, lengths)


def _traceable(stack: Stack) -> Stack:
    """``stack`` itself, or one around the same parameters without what tracing cannot follow."""
    if not isinstance(stack, ConformerStack):
        return stack
    changed: ConformerStack = adopt(type(stack), stack)
    if stack.frontend is not None:
        changed.frontend = Spectrum(stack.frontend)
    changed.normalize = exportable_normalize(stack.normalize)
    changed.embedding = with_positions(stack.embedding)
    return changed
