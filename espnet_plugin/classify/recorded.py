"""Hidden states computed once, so that many mimics learn from them at little cost.

What is before the blocks stays as it is in both stages of mimicking, and so does the teacher: all
that a mimic sees and is to say can be computed once for each recording.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Optional, Sequence

import torch
from torch import Tensor, nn

from espnet_plugin.classify.recordings import Recordings
from espnet_plugin.distill.batches import SpeechBatches
from espnet_plugin.stacks.batches import Batch, Utterance
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.state import State, mask_of
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack


class Record:
    """What enters a mimic, and the outputs of some of the teacher's blocks.

    Args:
        bare: gives what enters the mimic; see :func:`espnet_plugin.distill.task.without_blocks`.
        teacher: in evaluation mode.
        places: its blocks whose outputs are kept.
        recordings: all of which are read.
    """

    def __init__(
        self, bare: Stack, teacher: Stack, places: Sequence[int], recordings: Recordings
    ) -> None:
        self.width, self.places = teacher.width, tuple(places)
        self.utterances = recordings.utterances
        self.rows: Dict[str, Tensor] = {}
        device = next(teacher.parameters()).device
        batches = recordings.batches()
        for batch in batches.epoch(0):
            names, waveforms, lengths = batches.read(batch)
            waveforms, lengths = waveforms.to(device), lengths.to(device)
            with torch.no_grad():
                state = bare.embed(waveforms, lengths)
                hidden, _ = teacher(waveforms, lengths, layers=len(teacher.blocks))
            parts = [state.x, *(hidden[place + 1] for place in self.places)]
            together = torch.cat(parts, dim=-1).cpu()
            for name, row, length in zip(names, together, state.lengths.tolist(), strict=True):
                self.rows[name] = row[:length].clone()

    def batches(self, max_seconds: float, seed: Optional[int] = 0) -> SpeechBatches:
        """Batches of the states (B, T, (1 + places) · D), by the durations of the recordings."""
        return SpeechBatches(self.utterances, max_seconds, seed, self._read)

    def _read(self, batch: List[Utterance]) -> Batch:
        names = [utterance.utt_id for utterance in batch]
        found = [self.rows[name] for name in names]
        lengths = torch.tensor([len(row) for row in found])
        return names, nn.utils.rnn.pad_sequence(found, batch_first=True), lengths

    def teacher(self) -> RecordedStack:
        """A stack whose blocks, one for each of ``places``, give what was recorded."""
        starts = range(self.width, (len(self.places) + 1) * self.width, self.width)
        return RecordedStack(self.width, [Recall(start) for start in starts], None)

    def student(self, stack: Stack) -> RecordedStack:
        """The blocks of ``stack``, and the norm behind them, the same modules, on the record."""
        return RecordedStack(self.width, list(stack.blocks), last_norm(stack))


class RecordedStack(Stack):
    """A stack that takes a :class:`Record`'s states in place of what it would compute itself."""

    family = "recorded"
    takes = "features"

    def __init__(
        self, width: int, blocks: List[nn.Module], after_norm: Optional[nn.Module]
    ) -> None:
        super().__init__(blocks)
        self.width = width
        self.after_norm = after_norm
        # empty, and there only because a stack's parameters tell its device
        self.where = nn.Parameter(torch.zeros(0), requires_grad=False)

    def embed(self, inputs: Tensor, lengths: Optional[Tensor] = None) -> State:
        """See :meth:`Stack.embed`; all that was recorded goes along as ``positions``."""
        if lengths is None:
            lengths = torch.full((len(inputs),), inputs.size(1), device=inputs.device)
        mask = mask_of(lengths, inputs.size(1))
        return State(inputs[..., : self.width], lengths, mask, positions=inputs)

    def finish(self, x: Tensor) -> Tensor:
        """See :meth:`Stack.finish`."""
        return x if self.after_norm is None else self.after_norm(x)

    def describe(self) -> Dict[str, Any]:
        """Raises ValueError: there is nothing to build it from."""
        raise ValueError("a recorded stack cannot be described")


class Recall(nn.Module):
    """A block that gives what was recorded from channel ``start`` on."""

    attention = None

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = start

    def forward(self, state: State) -> State:
        """The state with the output of the block that was recorded."""
        assert state.positions is not None
        end = self.start + state.x.size(-1)
        return replace(state, x=state.positions[..., self.start : end])


def last_norm(stack: Stack) -> Optional[nn.Module]:
    """The norm behind the last block; None: there is none."""
    if isinstance(stack, Wav2Vec2Stack):
        return stack.norm if stack.config.norm_first else None
    return getattr(stack, "after_norm", None)
