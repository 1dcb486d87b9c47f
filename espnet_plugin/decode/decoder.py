"""An ESPnet-trained CTC model as a decoder: waveforms in, hypotheses and lattices out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Sequence, Union

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from espnet_plugin.atomic import PathLike
from espnet_plugin.compat import require_k2
from espnet_plugin.decode.graph.topology import ctc_topology
from espnet_plugin.decode.greedy import greedy_search
from espnet_plugin.decode.lattice import Beams, Lattices
from espnet_plugin.decode.posteriors import ctc_posteriors
from espnet_plugin.decode.retries import find_lattices
from espnet_plugin.decode.search import best_paths
from espnet_plugin.decode.text import TokenText, find_bpemodel
from espnet_plugin.stacks.experiment import Experiment, load_experiment

METHODS = ("ctc", "greedy")


@dataclass(frozen=True)
class Hypothesis:
    """One utterance's result.

    Attributes:
        text: the words; None if the model has no tokenizer.
        tokens: its tokens, as ESPnet's file ``token``.
        token_ids: their numbers.
        score: natural logarithm of the best path's probability; −inf where there is none.
    """

    text: Optional[str]
    tokens: List[str]
    token_ids: List[int]
    score: float


@dataclass(frozen=True)
class Decoded:
    """One batch's result.

    Attributes:
        hypotheses: one per utterance, in the batch's order.
        lattices: the lattices of the utterances that have a path; None for ``greedy``.
        encoder_seconds: time from waveforms to posteriors.
        search_seconds: time from posteriors to hypotheses.
    """

    hypotheses: List[Hypothesis]
    lattices: Optional[Lattices]
    encoder_seconds: float
    search_seconds: float


class CtcDecoder:
    """Decode with the CTC head of an ESPnet ASR model.

    Args:
        model: an ``ESPnetASRModel`` in evaluation mode; its device is where everything runs.
        text: makes text from token numbers.
        method: ``ctc`` searches the CTC topology with k2, ``greedy`` takes the best token of
            every frame and needs no k2.
        beams: what the search keeps.
        topology: see :func:`espnet_plugin.decode.ctc_topology`.
        blank_bias: added to the blank's log posterior (ESPnet's option of that name).
        lattice_weight: multiplies the lattices' scores (ESPnet's option of that name); the best
            path stays the same.

    Example:
        >>> decoder = CtcDecoder.from_experiment("exp/asr_conformer")
        >>> for hypothesis in decoder([waveform_1, waveform_2]):
        ...     print(hypothesis.text, hypothesis.score)
    """

    def __init__(
        self,
        model: Any,
        text: TokenText,
        method: str = "ctc",
        beams: Optional[Beams] = None,
        topology: str = "standard",
        blank_bias: float = 0.0,
        lattice_weight: float = 1.0,
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
        if lattice_weight <= 0:
            raise ValueError(f"lattice_weight must be above 0, not {lattice_weight}")
        self.model = model
        self.text = text
        self.method = method
        self.beams = beams or Beams()
        self.blank_bias = blank_bias
        self.lattice_weight = lattice_weight
        self.device = next(model.parameters()).device
        self.experiment: Optional[Experiment] = None
        self.graph: Any = None
        if method == "ctc":
            require_k2()
            self.graph = ctc_topology(model.ctc.ctc_lo.out_features, topology, self.device)

    @classmethod
    def from_experiment(
        cls,
        exp_dir: PathLike,
        checkpoint: Optional[str] = None,
        device: Union[str, torch.device] = "cpu",
        token_type: Optional[str] = None,
        bpemodel: Optional[str] = None,
        **options: Any,
    ) -> CtcDecoder:
        """Load a directory that ESPnet's training wrote.

        Args:
            exp_dir: holds ``config.yaml`` and the checkpoints.
            checkpoint: a file in it; the best average if None.
            device: ``cpu`` or ``cuda``.
            token_type: instead of the configuration's.
            bpemodel: instead of the configuration's SentencePiece model.
            options: what :class:`CtcDecoder` takes besides.
        """
        experiment = load_experiment(exp_dir, checkpoint, device=str(device))
        args = experiment.args
        if bpemodel is None:
            bpemodel = find_bpemodel(getattr(args, "bpemodel", None), Path(exp_dir))
        text = TokenText(experiment.token_list, token_type or args.token_type, bpemodel)
        decoder = cls(experiment.model, text, **options)
        decoder.experiment = experiment
        return decoder

    def __call__(self, waveforms: Sequence[Union[np.ndarray, Tensor]]) -> List[Hypothesis]:
        """Decode utterances, given at the model's sampling rate.

        Args:
            waveforms: one array (S,) of samples, or (L, D) of features, per utterance.
        """
        return self.decode(waveforms).hypotheses

    def decode(
        self,
        waveforms: Sequence[Union[np.ndarray, Tensor]],
        names: Optional[Sequence[str]] = None,
    ) -> Decoded:
        """As calling the decoder, with lattices and times; ``names`` are for the log."""
        start = self._now()
        log_probs, lengths = self.posteriors(waveforms)
        middle = self._now()
        hypotheses, lattices = self.search(log_probs, lengths, names)
        return Decoded(hypotheses, lattices, middle - start, self._now() - middle)

    def posteriors(self, waveforms: Sequence[Union[np.ndarray, Tensor]]) -> tuple[Tensor, Tensor]:
        """(B, T, V) log posteriors of utterances as one batch, and (B,) lengths."""
        arrays = [torch.as_tensor(waveform).to(torch.float32) for waveform in waveforms]
        lengths = torch.tensor([len(array) for array in arrays], device=self.device)
        speech = pad_sequence(arrays, batch_first=True).to(self.device)
        return ctc_posteriors(self.model, speech, lengths, self.blank_bias)

    def search(
        self, log_probs: Tensor, lengths: Tensor, names: Optional[Sequence[str]] = None
    ) -> tuple[List[Hypothesis], Optional[Lattices]]:
        """Hypotheses and lattices of posteriors (B, T, V) with (B,) lengths."""
        if self.method == "greedy":
            paths = zip(*greedy_search(log_probs, lengths, names), strict=True)
            return [self._hypothesis(ids, score) for ids, score in paths], None
        lattices = find_lattices(self.graph, log_probs, lengths, self.beams, names=names)
        hypotheses = [
            self._hypothesis([], 0.0 if frames == 0 else -np.inf) for frames in lengths.tolist()
        ]
        if lattices.fsa is not None:
            if self.lattice_weight != 1.0:
                lattices.fsa.scores = lattices.fsa.scores * self.lattice_weight
            paths = zip(*best_paths(lattices.fsa), strict=True)
            for i, (ids, score) in zip(lattices.utterances, paths, strict=True):
                hypotheses[i] = self._hypothesis(ids, score)
        return hypotheses, lattices

    def _hypothesis(self, token_ids: List[int], score: float) -> Hypothesis:
        text, tokens = self.text(token_ids)
        return Hypothesis(text, tokens, token_ids, float(score))

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
