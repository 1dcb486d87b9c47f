"""The measures ``phone_probe``, ``word_probe`` and ``speaker_probe`` of the analysis suite."""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from espnet_plugin.analysis.probes.probe import (
    ITERATIONS,
    STRENGTH,
    Probe,
    chance_of,
    drawn_frames,
    fit_probe,
    parts_of,
)
from espnet_plugin.analysis.suite.measure import STATES, Context, Utterances
from espnet_plugin.analysis.sums.resample import ratio_intervals

PARTS = 5
"""Into how many parts utterances are cut; those of one part are tested with a probe of the rest."""
FRAMES = 10000
"""How many frames are drawn from all utterances for phones, about."""

_HOW = (
    "linear classifier of standardised frozen hidden states, mean cross-entropy + "
    f"{STRENGTH}/2 · sum of squared weights, at most {ITERATIONS} steps"
)


class Samples(NamedTuple):
    """What is kept of an utterance."""

    features: Tensor
    """(S, n, D) float32, CPU: n samples of each state."""
    labels: Tensor
    """(n,) int64."""


class ProbeMeasure:
    """Linear probes of every hidden state, accumulated over batches and fitted at the end.

    The samples are kept, states × D × 4 bytes for each; results depend on nothing but them, in
    order of the utterances' names.

    Args:
        name: of the measure.
        classes: their names.
        pick: utterance, its states (T, D) each -> what is kept of it, or None.
        parts: utterance -> its part; see :func:`espnet_plugin.analysis.probes.probe.parts_of`.
        tested: how many of the parts are tested, each with a probe of all others.
        about: what the result says beside the figures.
        reason: why there can be no result, if so; nothing is kept then.
    """

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        pick: Callable[[str, List[Tensor]], Optional[Samples]],
        parts: Mapping[str, int],
        tested: int,
        about: Mapping[str, Any],
        reason: Optional[str] = None,
    ) -> None:
        self.name, self.classes, self.pick = name, tuple(classes), pick
        self.parts, self.tested, self.about, self.reason = dict(parts), tested, dict(about), reason
        self.wants: FrozenSet[str] = frozenset({STATES}) if reason is None else frozenset()
        self._kept: Dict[str, Samples] = {}
        self._names: List[str] = []
        self._found: Optional[Found] = None

    def begin(self, utterances: Utterances) -> None:
        """See :class:`espnet_plugin.analysis.suite.measure.Measure`."""
        self._names = list(utterances.names)

    def look(self, block: int, maps: Tensor, lengths: Tensor) -> None:
        """Nothing to do."""

    def end(self, states: Sequence[Tensor], lengths: Tensor) -> None:
        """Keep samples of the batch.

        Raises:
            ValueError: hidden states that are not finite, or an utterance twice; names it.
        """
        self._found = None
        for row, (name, length) in enumerate(zip(self._names, lengths.tolist(), strict=True)):
            if self.reason is not None or name not in self.parts:
                continue
            if name in self._kept:
                raise ValueError(f"{name}: measured before")
            kept = self.pick(name, [state[row, :length] for state in states])
            if kept is None:
                continue
            if not bool(torch.isfinite(kept.features).all()):
                raise ValueError(f"{name}: its hidden states are not finite")
            self._kept[name] = kept

    def merge(self, other: ProbeMeasure) -> None:
        """Add what another has kept.

        Raises:
            ValueError: an utterance that both have.
        """
        both = self._kept.keys() & other._kept.keys()
        if both:
            raise ValueError(f"{sorted(both)[0]}: measured before")
        self._kept.update(other._kept)
        self._found = None

    def state_dict(self) -> Dict[str, Any]:
        """What is kept."""
        names = sorted(self._kept)
        if not names:
            return {"names": []}
        kept = [self._kept[name] for name in names]
        return {
            "names": names,
            "counts": [len(one.labels) for one in kept],
            "features": torch.cat([one.features for one in kept], 1),
            "labels": torch.cat([one.labels for one in kept]),
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Replace it by what :meth:`state_dict` gave."""
        self._kept, self._found = {}, None
        if state["names"]:
            counts = list(state["counts"])
            features = state["features"].split(counts, 1)
            labels = state["labels"].split(counts)
            for name, x, y in zip(state["names"], features, labels, strict=True):
                self._kept[name] = Samples(x, y)

    def result(self) -> Dict[str, Any]:
        """See docs/probes.md."""
        base = {"sources": {"accuracy": {"mark": "P", "unit": "1", "source": _HOW}}, **self.about}
        reason = self.reason or self._lack()
        if reason is not None:
            return {**base, "reason": reason, "states": []}
        found = self._fit()
        mean, low, high = ratio_intervals(
            found.correct, np.broadcast_to(found.total[:, None], found.correct.shape)
        )
        states = [
            {
                "state": state,
                "block": state - 1 if state else None,
                "accuracy": float(mean[state]),
                "low": float(low[state]),
                "high": float(high[state]),
                "converged": bool(found.converged[state]),
            }
            for state in range(len(mean))
        ]
        held_out = sorted(name for name, part in self.parts.items() if part == 0)
        return {
            **base,
            "classes": list(self.classes),
            "parts": PARTS,
            "parts_tested": self.tested,
            "utterances": len(self._kept),
            "samples": sum(len(one.labels) for one in self._kept.values()),
            "tested_utterances": len(found.names),
            "tested_samples": int(found.total.sum()),
            "chance": found.chance,
            "states": states,
            "held_out": held_out,
        }

    def arrays(self) -> Dict[str, np.ndarray]:
        """``utterances`` (U,) that were tested, ``correct`` (U, S) and ``total`` (U,) of their
        samples; and the probes of all parts but the first: ``weight`` (S, C, D) and ``bias``
        (S, C) float32, ``classes`` (C,)."""
        if self.reason is not None or self._lack() is not None:
            return {}
        found = self._fit()
        known = found.probes[0].classes
        return {
            "utterances": np.array(found.names),
            "correct": found.correct,
            "total": found.total,
            "weight": np.stack([probe.weight for probe in found.probes]).astype(np.float32),
            "bias": np.stack([probe.bias for probe in found.probes]).astype(np.float32),
            "classes": np.array([self.classes[number] for number in known]),
        }

    def tables(self) -> Dict[str, List[List[Any]]]:
        """A row for each state."""
        states = self.result()["states"]
        return {"": [list(states[0]), *(list(row.values()) for row in states)]} if states else {}

    def _lack(self) -> Optional[str]:
        tested = {self.parts[name] for name in self._kept}
        if not set(range(self.tested)) <= tested or tested == {0}:
            return "too few utterances with labels"
        learned = [self._kept[n].labels for n in self._kept if self.parts[n] != 0]
        if len(torch.cat(learned).unique()) < 2:
            return "fewer than two classes among the labels"
        return None

    def _fit(self) -> Found:
        if self._found is None:
            self._found = _fit_all(self._kept, self.parts, self.tested)
        return self._found


class Found(NamedTuple):
    """Of all states."""

    names: List[str]
    correct: np.ndarray
    total: np.ndarray
    chance: float
    converged: np.ndarray
    probes: List[Probe]
    """Of each state, of all parts but the first."""


def _fit_all(kept: Mapping[str, Samples], parts: Mapping[str, int], tested: int) -> Found:
    names = sorted(kept)
    of_part = np.array([parts[name] for name in names])
    counts = np.array([len(kept[name].labels) for name in names])
    labels = torch.cat([kept[name].labels for name in names]).numpy()
    sample_part, sample_name = np.repeat(of_part, counts), np.repeat(np.arange(len(names)), counts)
    states = len(kept[names[0]].features)
    correct = np.zeros((len(names), states), dtype=np.int64)
    converged = np.ones(states, dtype=bool)
    chances, probes = [], []
    for part in range(tested):
        test = sample_part == part
        chances.append((chance_of(labels[~test], labels[test]), int(test.sum())))
    for state in range(states):
        features = torch.cat([kept[name].features[state] for name in names]).numpy()
        for part in range(tested):
            test = sample_part == part
            probe = fit_probe(features[~test], labels[~test])
            right = probe.predict(features[test]) == labels[test]
            np.add.at(correct[:, state], sample_name[test], right)
            converged[state] &= probe.converged
            if part == 0:
                probes.append(probe)
    rows = np.flatnonzero((of_part < tested) & (counts > 0))
    weights = np.array([count for _, count in chances])
    chance = float(np.average([value for value, _ in chances], weights=weights))
    return Found(
        [names[row] for row in rows], correct[rows], counts[rows], chance, converged, probes
    )


def make_phone(context: Context) -> ProbeMeasure:
    """``phone_probe``: the phone of each frame.

    Raises:
        ValueError: there are no alignments, or the model has no frame clock.
    """
    labels, clock, options = context.alignments, context.encoder.clock, context.options
    if labels is None:
        raise ValueError("phone_probe needs phone alignments; give --alignments")
    there = [u for u in context.utterances if u.utt_id not in labels.without]
    rate = there[0].rate if there else 0
    most = options.get("probe_frames", FRAMES)
    share = most / max(1, sum(u.samples // clock.shift for u in there))
    by = options.get("probe_by", "utterance")
    names = [u.utt_id for u in there]
    reason = None if len(names) >= PARTS else f"{len(names)} utterances cannot be cut into {PARTS}"
    parts: Dict[str, int] = {}
    if reason is None:
        try:
            speakers = context.speakers if by == "speaker" else None
            parts = parts_of(names, PARTS, together=speakers)
        except ValueError as error:
            reason = f"by {by}: {error}"

    def pick(name: str, states: List[Tensor]) -> Optional[Samples]:
        assert labels is not None
        classes = labels.frames(name, clock, len(states[0]), rate)
        places = torch.from_numpy(drawn_frames(name, len(classes), share))
        places = places[classes[places] >= 0]
        if not len(places):
            return None
        features = torch.stack([state[places.to(state.device)].float().cpu() for state in states])
        return Samples(features, classes[places])

    without = sorted(u.utt_id for u in context.utterances if u.utt_id in labels.without)
    about = {
        "samples_are": "frames",
        "split_by": by,
        "share_of_frames": min(1.0, share),
        "without_alignment": without,
    }
    tested = options.get("phone_probe_parts", 1)
    return ProbeMeasure("phone_probe", labels.symbols, pick, parts, tested, about, reason)


def make_word(context: Context) -> ProbeMeasure:
    """``word_probe``: the transcript of each utterance, for recordings of single words."""
    return _of_utterances("word_probe", context.texts, context)


def make_speaker(context: Context) -> ProbeMeasure:
    """``speaker_probe``: the speaker of each utterance."""
    return _of_utterances("speaker_probe", context.speakers, context)


def _of_utterances(name: str, labels: Mapping[str, str], context: Context) -> ProbeMeasure:
    """A probe of the mean over frames; labels with fewer utterances than parts are left out."""
    wanted = {u.utt_id for u in context.utterances} & labels.keys()
    counts = Counter(labels[utterance] for utterance in wanted)
    classes = sorted(label for label, count in counts.items() if count >= PARTS)
    of = {u: labels[u] for u in wanted if counts[labels[u]] >= PARTS}
    number = {label: place for place, label in enumerate(classes)}
    reason = None
    if len(classes) < 2:
        reason = f"fewer than two labels have {PARTS} utterances ({len(counts)} labels)"

    def pick(utterance: str, states: List[Tensor]) -> Samples:
        means = [state.double().mean(0, keepdim=True).float().cpu() for state in states]
        return Samples(torch.stack(means), torch.tensor([number[of[utterance]]]))

    parts = parts_of(of, PARTS, strata=of) if reason is None else {}
    about = {"samples_are": "utterances", "split_by": "utterance"}
    return ProbeMeasure(name, classes, pick, parts, PARTS, about, reason)
