"""What a measure of the analysis suite is, and what it is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    FrozenSet,
    List,
    Mapping,
    Optional,
    Protocol,
    Sequence,
)

import numpy as np
from torch import Tensor

from espnet_plugin.stacks.batches import Utterance, read_labels

if TYPE_CHECKING:
    from espnet_plugin.analysis.phonemes.labels import PhoneLabels
    from espnet_plugin.analysis.suite.subject import Subject

MAPS = "maps"
STATES = "states"


@dataclass(frozen=True)
class Utterances:
    """What a batch holds."""

    names: List[str]
    samples: Tensor
    """(B,) int64, without padding."""
    rate: int
    """Samples per second."""
    speech: Tensor
    """(B, N) float32, CPU, as the model gets it: zero after each end."""


class Measure(Protocol):
    """One measure, accumulated over batches.

    :class:`espnet_plugin.analysis.suite.run.Pass` calls for each batch ``begin``, then ``look`` for
    the blocks in order, then ``end``. Any split of the batches over measures that are merged, in
    any order, must give the same result bit for bit: sums are exact
    (:class:`espnet_plugin.analysis.sums.exact_sum.ExactSum`), or values are kept under the
    utterance's name and summed in order of name.
    """

    name: str
    """As on the command line; the files of the result are called by it."""
    wants: FrozenSet[str]
    """What it looks at: :data:`MAPS`, :data:`STATES`, both or nothing."""

    def begin(self, utterances: Utterances) -> None:
        """A batch begins."""

    def look(self, block: int, maps: Tensor, lengths: Tensor) -> None:
        """The maps of one block; only if it wants maps.

        Args:
            block: its place in the model, from 0; only blocks with a map of their own.
            maps: (B, H, T, T), H at least 1, after softmax, before dropout. What lies beyond an
                utterance's length is undefined. They must not be kept after the call, unless the
                measure says what that costs.
            lengths: (B,) valid frames, int64, CPU, each at least 1.

        Raises:
            ValueError: maps that cannot be measured, one line; the pass adds the utterances.
        """

    def end(self, states: Sequence[Tensor], lengths: Tensor) -> None:
        """A batch ends.

        Args:
            states: what enters block 0 and what leaves each block, (B, T, D), zero on padding,
                the last one after the final norm; empty unless the measure wants states.
            lengths: (B,) valid frames, int64, CPU, each at least 1.
        """

    def merge(self, other: Any) -> None:
        """Add what another measure of the same kind and model saw of other utterances."""

    def state_dict(self) -> Dict[str, Any]:
        """Everything: tensors, strings, ints, lists and dicts. A float is put into a tensor, for
        torch 1.13 reads no floats beside them with ``weights_only``."""

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace everything by what :meth:`state_dict` gave."""

    def result(self) -> Dict[str, Any]:
        """Plain JSON values without NaN: None, with a reason beside it, for what is not there."""

    def arrays(self) -> Dict[str, np.ndarray]:
        """What belongs into NAME.npz; {} for none."""

    def tables(self) -> Dict[str, List[List[Any]]]:
        """CSV tables by name ("" for the measure's own), header row first; {} for none."""


@dataclass
class Context:
    """What measures are made from."""

    encoder: Subject
    """The model under analysis."""
    data: str
    """The Kaldi directory or file of cuts, as given."""
    utterances: Sequence[Utterance] = ()
    """All of the data set, whatever the shard."""
    alignments: Optional[PhoneLabels] = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """The command's options, by their names."""

    @cached_property
    def texts(self) -> Dict[str, str]:
        """Transcripts by utterance: of ``text`` in a Kaldi directory, of the cuts' supervisions.

        Raises:
            DataError: there are none.
        """
        return read_labels(self.data, "text")

    @cached_property
    def speakers(self) -> Dict[str, str]:
        """Speakers by utterance: of ``utt2spk``, or of the cuts' supervisions.

        Raises:
            DataError: there are none.
        """
        return read_labels(self.data, "speaker")
