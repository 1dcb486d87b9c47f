"""The measure ``segmentation`` of the analysis suite: how well each head's rows segment phones."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from espnet_plugin.analysis.phonemes.frames import FrameClock
from espnet_plugin.analysis.phonemes.labels import NOTHING, PhoneLabels
from espnet_plugin.analysis.phonemes.segmentation import (
    BoundaryCounts,
    count_boundaries,
    distances,
    kernel,
    local_minima,
    r_value,
    togetherness,
)
from espnet_plugin.analysis.suite.measure import MAPS, Context, Utterances
from espnet_plugin.analysis.sums.resample import draw_counts

TOLERANCE = 0.02
"""Seconds between a true boundary and one that hits it."""
ALPHAS = (0.5, 1.0)
BETAS = (1.0, 1.15, 1.3, 1.5, 2.0)
"""What α and β are chosen from."""
_AT_ONCE = 1 << 20
"""Elements of maps whose distances are computed together."""
BASELINES = ("mfcc_10ms", "mfcc_model_frames")

_SOURCES = {
    "segmentation": {
        "mark": "P",
        "unit": "1",
        "source": "Yang, Liu, Lee, Interspeech 2020, arXiv 2006.03265; alpha, minima and the "
        "choice on other utterances are ours [I]",
    },
    "r_value": {"mark": "P", "unit": "1", "source": "Räsänen, Laine, Altosaar, Interspeech 2009"},
}


def make(context: Context) -> Segmentation:
    """The measure ``segmentation`` of a model."""
    assert context.alignments is not None  # the registry sees to that
    encoder, options = context.encoder, context.options
    return Segmentation(
        encoder.leaders,
        encoder.heads,
        encoder.clock,
        context.alignments,
        options.get("segmentation_alpha") or ALPHAS,
        options.get("segmentation_beta") or BETAS,
    )


def mfcc(speech: Tensor, rate: int, clock: FrameClock, num_frames: int) -> Tensor:
    """13 MFCCs of windows of 25 ms (40 mel bands), one around each sample that a frame stands for.

    Args:
        speech: (N,) float32.

    Returns:
        (num_frames, 13).
    """
    from torchaudio.transforms import MFCC

    window = rate // 40
    first, last = clock.samples(num_frames)[[0, -1]].tolist()
    before, behind = window // 2 - first, last + window - window // 2 - len(speech)
    padded = torch.nn.functional.pad(speech, (before, max(0, behind)))
    sizes = {"n_fft": window, "hop_length": clock.shift, "n_mels": 40, "center": False}
    return MFCC(rate, 13, melkwargs=sizes)(padded)[:, :num_frames].T


class Segmentation:
    """Counts of boundaries per utterance, head, α and β.

    The head, and α and β of each head, are chosen by R-value on every second utterance in order of
    name; the others give the figures. Memory is 12 bytes per utterance, head, α and β.

    Args:
        leaders: the blocks with a map of their own.
        heads: of each block.
        clock: which samples the frames stand for.
        labels: the alignments. An utterance with an unknown word is left out.
        alphas, betas: to choose from.
    """

    name = "segmentation"
    wants: FrozenSet[str] = frozenset({MAPS})

    def __init__(
        self,
        leaders: Sequence[int],
        heads: Sequence[int],
        clock: FrameClock,
        labels: PhoneLabels,
        alphas: Sequence[float] = ALPHAS,
        betas: Sequence[float] = BETAS,
    ) -> None:
        self.clock, self.labels = clock, labels
        self.rows = [(block, head) for block in leaders for head in range(heads[block])]
        self._first = {block: self.rows.index((block, 0)) for block in leaders}
        self.alphas, self.betas = list(alphas), list(betas)
        self.counts: Dict[str, Tensor] = {}
        """Utterance -> (heads and baselines, α and β, 3) int32, as :class:`BoundaryCounts`."""
        self.left_out: Dict[str, str] = {}
        self._utterances = Utterances([], torch.zeros(0, dtype=torch.int64), 1, torch.zeros(0, 0))
        self._true: List[Optional[np.ndarray]] = []

    @property
    def settings(self) -> List[Tuple[float, float]]:
        """Each α and β."""
        return [(alpha, beta) for alpha in self.alphas for beta in self.betas]

    def begin(self, utterances: Utterances) -> None:
        """See :class:`espnet_plugin.analysis.suite.measure.Measure`.

        Raises:
            ValueError: an utterance that the alignments do not name, or for the second time.
        """
        self._utterances, self._true = utterances, []
        for name in utterances.names:
            if name in self.counts or name in self.left_out:
                raise ValueError(f"{name}: measured before")
            reason = self._reason(name)
            if reason is not None:
                self.left_out[name] = reason
                self._true.append(None)
                continue
            self._true.append(self.labels.boundaries(name, utterances.rate))
            places = len(self.rows) + len(BASELINES), len(self.settings), 3
            self.counts[name] = torch.zeros(places, dtype=torch.int32)

    def look(self, block: int, maps: Tensor, lengths: Tensor) -> None:
        """See :class:`espnet_plugin.analysis.suite.measure.Measure`."""
        names = self._utterances.names
        for n, (name, true) in enumerate(zip(names, self._true, strict=True)):
            if true is None:
                continue
            length, place = int(lengths[n]), self._first[block]
            for part in maps[n, :, :length, :length].split(max(1, _AT_ONCE // length**2)):
                self._count(name, place, part, self.clock, true)
                place += len(part)

    def end(self, states: Sequence[Tensor], lengths: Tensor) -> None:
        """The baselines: MFCCs every 10 ms, and one for each frame of the model."""
        rate, speech = self._utterances.rate, self._utterances.speech
        for n, (name, true) in enumerate(zip(self._utterances.names, self._true, strict=True)):
            if true is None:
                continue
            samples = int(self._utterances.samples[n])
            fine = FrameClock(rate // 100, 0)
            for place, clock, frames in (
                (-2, fine, samples // fine.shift + 1),
                (-1, self.clock, int(lengths[n])),
            ):
                found = mfcc(speech[n, :samples], rate, clock, frames)
                self._count(name, place, found[None], clock, true)

    def merge(self, other: Segmentation) -> None:
        """Add what another has counted.

        Raises:
            ValueError: an utterance that both have seen.
        """
        mine, theirs = ({*m.counts, *m.left_out} for m in (self, other))
        if mine & theirs:
            raise ValueError(f"{sorted(mine & theirs)[0]}: measured twice")
        self.counts.update(other.counts)
        self.left_out.update(other.left_out)

    def state_dict(self) -> Dict[str, Any]:
        """Everything."""
        return {"counts": dict(self.counts), "left_out": dict(self.left_out)}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace everything by what :meth:`state_dict` gave."""
        self.counts, self.left_out = dict(state["counts"]), dict(state["left_out"])

    def result(self) -> Dict[str, Any]:
        """See docs/phonemes.md.

        Raises:
            ValueError: fewer than two utterances with alignments.
        """
        choice, scored = self._halves()
        places = self._chosen(choice)
        rows = [self._figures(scored, place, setting) for place, setting in enumerate(places)]
        pairs = zip(self.rows, rows[:-2], strict=True)
        heads = [{"block": b, "head": h, **one} for (b, h), one in pairs]
        chosen = r_value(choice.sum(0))[np.arange(len(places)), places]
        best = int(np.nanargmax(chosen[:-2])) if np.isfinite(chosen[:-2]).any() else None
        found: Dict[str, Any] = {
            "sources": _SOURCES,
            "tolerance_seconds": TOLERANCE,
            "utterances": {"choice": len(choice), "scored": len(scored)},
            "left_out": dict(sorted(self.left_out.items())),
            "heads": heads,
            "baselines": dict(zip(BASELINES, rows[-2:], strict=True)),
            "best": None,
        }
        if best is None:
            return {**found, "reason": "no head has boundaries"}
        draws = self._drawn(scored, places)
        for n, name in enumerate(BASELINES):
            found["baselines"][name]["interval_95"] = _interval(draws[:, n - 2])
        against = {
            name: {
                "difference": _number(rows[best]["r_value"] - rows[n - 2]["r_value"]),
                "interval_95": _interval(draws[:, best] - draws[:, n - 2]),
            }
            for n, name in enumerate(BASELINES)
        }
        own = {"interval_95": _interval(draws[:, best]), "against": against}
        return {**found, "best": {**heads[best], **own}}

    def arrays(self) -> Dict[str, np.ndarray]:
        """``counts`` (U, N + 2, G, 3): hits, found and true boundaries of each utterance, head
        (the last two: the baselines), α and β; ``utterances`` (U,), ``block`` and ``head`` (N,),
        ``alpha`` and ``beta`` (G,)."""
        names = sorted(self.counts)
        rows = np.array(self.rows, dtype=np.int64).reshape(-1, 2)
        settings = np.array(self.settings)
        return {
            "utterances": np.array(names),
            "counts": torch.stack([self.counts[name] for name in names]).numpy(),
            "block": rows[:, 0],
            "head": rows[:, 1],
            "alpha": settings[:, 0],
            "beta": settings[:, 1],
        }

    def tables(self) -> Dict[str, List[List[Any]]]:
        """A row for each head and baseline, of the scored half."""
        result = self.result()
        columns = [key for key in result["baselines"][BASELINES[0]] if key != "interval_95"]
        rows: List[List[Any]] = [["block", "head", *columns]]
        for one in result["heads"]:
            rows.append([one["block"], one["head"], *(one[key] for key in columns)])
        for name, one in result["baselines"].items():
            rows.append([name, None, *(one[key] for key in columns)])
        return {"": rows}

    def _reason(self, name: str) -> Optional[str]:
        if name in self.labels.without:
            return "it has no alignment"
        classes = self.labels.samples(name, self._utterances.rate).classes
        return "it has an unknown word" if bool((classes == NOTHING).any()) else None

    def _count(
        self, name: str, place: int, vectors: Tensor, clock: FrameClock, true: np.ndarray
    ) -> None:
        """Of vectors (n, T, D): the counts from ``place`` on."""
        tolerance = round(TOLERANCE * self._utterances.rate)
        samples = clock.samples(vectors.shape[1]).numpy()
        apart, setting = distances(vectors), 0
        for alpha in self.alphas:
            kernels = kernel(apart, alpha)
            for beta in self.betas:
                for n, sums in enumerate(togetherness(kernels, beta).cpu().numpy()):
                    counts = count_boundaries(samples[local_minima(sums)], true, tolerance)
                    self.counts[name][place + n, setting] = torch.tensor(counts)
                setting += 1

    def _halves(self) -> Tuple[np.ndarray, np.ndarray]:
        """Counts (U', N + 2, G, 3) of the utterances to choose on, and of those to score."""
        if len(self.counts) < 2:
            raise ValueError("segmentation: takes two utterances with alignments at least")
        every = torch.stack([self.counts[name] for name in sorted(self.counts)]).numpy()
        return every[::2].astype(np.int64), every[1::2].astype(np.int64)

    @staticmethod
    def _chosen(choice: np.ndarray) -> np.ndarray:
        """(N + 2,) the setting of each head and baseline; the first where R has no value."""
        return np.nan_to_num(r_value(choice.sum(0)), nan=-np.inf).argmax(-1)

    def _figures(self, scored: np.ndarray, place: int, setting: int) -> Dict[str, Any]:
        counts = BoundaryCounts(*scored[:, place, setting].sum(0).tolist())
        alpha, beta = self.settings[setting]
        return {
            "alpha": alpha,
            "beta": beta,
            "r_value": _number(counts.r_value),
            "recall": _number(counts.recall),
            "precision": _number(counts.precision),
            "f_score": _number(counts.f_score),
            "over_segmentation": _number(counts.over_segmentation),
            **counts._asdict(),
        }

    @staticmethod
    def _drawn(scored: np.ndarray, places: np.ndarray) -> np.ndarray:
        """R-values (draws, N + 2) of utterances drawn with replacement."""
        own = scored[:, np.arange(len(places)), places].astype(np.float64)  # (U', N + 2, 3)
        flat = own.reshape(len(own), -1)
        draws = draw_counts(len(own), 1000, 0)
        return np.concatenate([r_value((c @ flat).reshape(-1, *own.shape[1:])) for c in draws])


def _number(value: float) -> Optional[float]:
    return None if value != value else float(value)


def _interval(drawn: np.ndarray) -> Optional[List[float]]:
    drawn = drawn[np.isfinite(drawn)]
    return np.percentile(drawn, [2.5, 97.5]).tolist() if len(drawn) else None
