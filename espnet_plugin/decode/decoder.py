"""An ESPnet-trained CTC model as a decoder: waveforms in, hypotheses and lattices out."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from espnet_plugin.atomic import PathLike
from espnet_plugin.compat import require_k2
from espnet_plugin.decode.graph.graph import Graph, ctc_graph
from espnet_plugin.decode.greedy import greedy_search
from espnet_plugin.decode.hypothesis import Decoded, Hypothesis
from espnet_plugin.decode.lattice import Beams, Lattices
from espnet_plugin.decode.methods import FIRST_PASS, METHODS, Rescorer, check_graph
from espnet_plugin.decode.posteriors import Encoded, encode_speech
from espnet_plugin.decode.retries import find_lattices
from espnet_plugin.decode.scales import Scales
from espnet_plugin.decode.text import TokenText, token_text
from espnet_plugin.stacks.experiment import Experiment, load_experiment

Waveforms = Sequence[Union[np.ndarray, Tensor]]


class CtcDecoder:
    """Decode with the CTC head of an ESPnet ASR model.

    Args:
        model: an ``ESPnetASRModel`` in evaluation mode; its device is where everything runs.
        text: makes text from token numbers.
        method: one of :data:`espnet_plugin.decode.METHODS`; ``greedy`` needs no k2.
        graph: a :class:`espnet_plugin.decode.graph.Graph` or its file, for all methods but
            ``greedy`` and ``ctc``. ``attention_rescoring``, ``nbest`` and ``nbest_oracle`` take
            the CTC topology if there is none.
        beams: what the search keeps.
        topology: of ``ctc``, see :func:`espnet_plugin.decode.ctc_topology`.
        blank_bias: added to the blank's log posterior (ESPnet's option of that name).
        lattice_weight: multiplies the lattices' scores after the search (ESPnet's option of that
            name).
        scales: the weights of the parts of a score.
        am_weight: multiplies the acoustic score in rescoring alone, not in the search (ESPnet's
            option of that name).
        rescoring: what :class:`espnet_plugin.decode.methods.Rescorer` takes besides: ``lm``,
            ``nnlm``, ``num_paths``, ``nll_batch_size``.

    Raises:
        ValueError: if something the method needs is missing, or does not fit the model.
        ImportError: if the method needs k2 and it is not installed.

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
        graph: Union[Graph, PathLike, None] = None,
        beams: Optional[Beams] = None,
        topology: str = "standard",
        blank_bias: float = 0.0,
        lattice_weight: float = 1.0,
        scales: Optional[Scales] = None,
        am_weight: float = 1.0,
        **rescoring: Any,
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
        self.search_scales = scales or Scales()
        self.device = next(model.parameters()).device
        self.experiment: Optional[Experiment] = None
        self.graph: Optional[Graph] = None
        self.rescorer: Optional[Rescorer] = None
        if method == "greedy":
            return
        require_k2()
        check_graph(method, graph is not None)
        if graph is None:
            graph = ctc_graph(text.token_list, topology, self.device)
        elif not isinstance(graph, Graph):
            graph = Graph.load(graph, self.device)
        _check_tokens(graph, text.token_list)
        self.graph = graph.to(self.device)
        if self.device.type == "cpu":
            from espnet_plugin.decode.cpu_search import warm_up

            warm_up()
        second = replace(self.scales, acoustic=am_weight * self.scales.acoustic)
        self.rescorer = Rescorer(
            method, text, graph.words, scales=second, model=model, device=self.device, **rescoring
        )

    @property
    def scales(self) -> Scales:
        """The weights in the lattices: those of the search times ``lattice_weight``."""
        s, weight = self.search_scales, self.lattice_weight
        parts = {name: weight * getattr(s, name) for name in ("acoustic", "hlg", "word")}
        return replace(s, **parts)

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
        text = token_text(experiment, token_type, bpemodel)
        decoder = cls(experiment.model, text, **options)
        decoder.experiment = experiment
        return decoder

    def __call__(self, waveforms: Waveforms) -> List[Hypothesis]:
        """Decode utterances, given at the model's sampling rate.

        Args:
            waveforms: one array (S,) of samples, or (L, D) of features, per utterance.
        """
        return self.decode(waveforms).hypotheses

    def decode(
        self,
        waveforms: Waveforms,
        names: Optional[Sequence[str]] = None,
        references: Optional[Sequence[str]] = None,
        narrowed: int = 0,
    ) -> Decoded:
        """As calling the decoder, with lattices and times.

        Args:
            waveforms: as for calling it.
            names: of the utterances, for the log.
            references: their transcripts, for ``nbest_oracle``.
            narrowed: how often the beams are halved.
        """
        times = [self._now()]
        encoded = self.encode(waveforms)
        times.append(self._now())
        if self.method == "greedy":
            paths = zip(*greedy_search(encoded.log_probs, encoded.lengths, names), strict=True)
            hypotheses = [self._hypothesis(ids, score) for ids, score in paths]
            return Decoded(hypotheses, None, times[1] - times[0], self._now() - times[1])
        lattices = self.lattices(encoded.log_probs, encoded.lengths, names, narrowed)
        times.append(self._now())
        hypotheses = self.hypotheses(lattices, encoded, names, references)
        times.append(self._now())
        encoder, search, rescoring = np.diff(times).tolist()
        if self.method in FIRST_PASS:
            search, rescoring = search + rescoring, 0.0
        return Decoded(hypotheses, lattices, encoder, search, rescoring)

    def encode(self, waveforms: Waveforms) -> Encoded:
        """Encoder output and log posteriors of utterances as one batch."""
        arrays = [torch.as_tensor(waveform).to(torch.float32) for waveform in waveforms]
        lengths = torch.tensor([len(array) for array in arrays], device=self.device)
        speech = pad_sequence(arrays, batch_first=True).to(self.device)
        return encode_speech(self.model, speech, lengths, self.blank_bias)

    def posteriors(self, waveforms: Waveforms) -> Tuple[Tensor, Tensor]:
        """(B, T, V) log posteriors of utterances as one batch, and (B,) lengths."""
        encoded = self.encode(waveforms)
        return encoded.log_probs, encoded.lengths

    def search(
        self, log_probs: Tensor, lengths: Tensor, names: Optional[Sequence[str]] = None
    ) -> Tuple[List[Hypothesis], Optional[Lattices]]:
        """Hypotheses and lattices of posteriors (B, T, V) with (B,) lengths.

        For methods that need no more than posteriors: not ``attention_rescoring`` and
        ``nbest_oracle``.
        """
        if self.method == "greedy":
            paths = zip(*greedy_search(log_probs, lengths, names), strict=True)
            return [self._hypothesis(ids, score) for ids, score in paths], None
        lattices = self.lattices(log_probs, lengths, names)
        encoded = Encoded(log_probs, lengths, log_probs[:, :, :0])
        return self.hypotheses(lattices, encoded, names), lattices

    def lattices(
        self,
        log_probs: Tensor,
        lengths: Tensor,
        names: Optional[Sequence[str]] = None,
        narrowed: int = 0,
    ) -> Lattices:
        """The search alone: lattices of posteriors (B, T, V) with (B,) lengths."""
        assert self.graph is not None, "greedy makes no lattices"
        beams = self.beams
        for _ in range(narrowed):
            beams = beams.narrower()
        found = find_lattices(
            self.graph.fsa, log_probs, lengths, beams, names=names, scales=self.search_scales
        )
        if found.fsa is not None and self.lattice_weight != 1.0:
            found.fsa.scores = self.lattice_weight * found.fsa.scores
        return found

    def hypotheses(
        self,
        lattices: Lattices,
        encoded: Encoded,
        names: Optional[Sequence[str]] = None,
        references: Optional[Sequence[str]] = None,
    ) -> List[Hypothesis]:
        """What the method takes from lattices: the best path, or the best after rescoring."""
        assert self.rescorer is not None
        result = [
            self._hypothesis([], 0.0 if frames == 0 else -np.inf)
            for frames in encoded.lengths.tolist()
        ]
        if lattices.fsa is not None:
            rows = lattices.utterances
            best = self.rescorer(
                lattices.fsa,
                names=[names[i] for i in rows] if names is not None else None,
                references=[references[i] for i in rows] if references is not None else None,
                hidden=encoded.hidden[rows],
                lengths=encoded.lengths[rows],
            )
            for i, hypothesis in zip(rows, best, strict=True):
                result[i] = hypothesis
        return result

    def meta(self, rate: Optional[int] = None) -> Dict[str, Any]:
        """What a store of this decoder's lattices must know: see :class:`LatticeWriter`.

        Args:
            rate: samples per second of the model's speech; None: times are not known.
        """
        from espnet_plugin.decode.align.timing import frame_seconds

        assert self.graph is not None, "greedy makes no lattices"
        return {
            "kind": self.graph.kind,
            "topology": self.graph.topology,
            "tokens": self.graph.tokens,
            "words": self.graph.words,
            "seconds_per_frame": None if rate is None else frame_seconds(self.model, rate),
            "scales": asdict(self.scales),
        }

    def _hypothesis(self, token_ids: List[int], score: float) -> Hypothesis:
        text, tokens = self.text(token_ids)
        return Hypothesis(text, tokens, token_ids, float(score))

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _check_tokens(graph: Graph, token_list: Sequence[str]) -> None:
    if list(graph.tokens) == list(token_list):
        return
    pairs = enumerate(zip(graph.tokens, token_list, strict=False))
    first = next((f"token {i} is {a!r}, not {b!r}" for i, (a, b) in pairs if a != b), "")
    raise ValueError(
        f"the graph has {len(graph.tokens)} tokens, the model {len(token_list)}; {first}: "
        "compile the graph with the model's own tokens.txt"
    )
