"""Linear probes: what can be read from hidden states by a linear classifier.

A probe is multinomial logistic regression on standardised features, the states frozen
(scikit-learn: the optimum of a convex problem, which no seed changes). Phones by frame: Shim, Choi,
Sung, ICLR 2022; words and speakers by utterance: Dorszewski et al., ICASSP 2025 (arXiv 2409.16302).
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import nn

STRENGTH = 0.01
"""What is made small is the mean cross-entropy + STRENGTH/2 · the sum of squared weights."""
ITERATIONS = 300
"""The most steps of L-BFGS."""


@dataclass(frozen=True)
class Probe:
    """A linear classifier of features as they are: the standardisation is in its weights."""

    weight: np.ndarray
    """(C, D) float64."""
    bias: np.ndarray
    """(C,) float64."""
    classes: np.ndarray
    """(C,) int64: the classes that it knows, those of its training samples."""
    converged: bool
    """Whether the optimum was reached within :data:`ITERATIONS`."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The class of each of (N, D) features: (N,) int64. Of equal scores the first class."""
        scores = np.asarray(features, dtype=np.float64) @ self.weight.T + self.bias
        return self.classes[scores.argmax(axis=1)]

    def head(self) -> nn.Linear:
        """The same as a layer, float32; its outputs are the scores of :attr:`classes`."""
        head = nn.Linear(self.weight.shape[1], len(self.classes))
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(self.weight))
            head.bias.copy_(torch.from_numpy(self.bias))
        return head


def fit_probe(features: np.ndarray, labels: np.ndarray, strength: float = STRENGTH) -> Probe:
    """Fit a probe.

    Args:
        features: (N, D), floating, finite.
        labels: (N,) whole numbers. A single class is allowed: the probe then always says it.
        strength: of the regularisation, see :data:`STRENGTH`.

    Raises:
        ValueError: shapes that do not fit, no sample, or features that are not finite.
        ImportError: scikit-learn is absent; one line.
    """
    features = np.asarray(features, dtype=np.float64)
    labels = np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise ValueError(f"features {features.shape} and labels {labels.shape} do not fit")
    if not np.isfinite(features).all():
        raise ValueError("a probe's features are not finite")
    classes = np.unique(labels).astype(np.int64)
    width = features.shape[1]
    if len(classes) == 1:
        return Probe(np.zeros((1, width)), np.zeros(1), classes, True)
    mean, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 1e-12 * np.abs(mean).max(initial=1e-300), spread, np.inf)
    weight, bias, converged = _regress((features - mean) / scale, labels, strength)
    weight = weight / scale
    return Probe(weight, bias - weight @ mean, classes, converged)


def _regress(
    features: np.ndarray, labels: np.ndarray, strength: float
) -> Tuple[np.ndarray, np.ndarray, bool]:
    """Weights (C, D), biases (C,), whether it converged."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise ImportError("probes need scikit-learn: pip install scikit-learn") from None
    model = LogisticRegression(C=1 / (strength * len(labels)), max_iter=ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, labels)
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # two classes: the scores of the second one alone
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias, int(model.n_iter_.max()) < ITERATIONS


def parts_of(
    names: Iterable[str],
    parts: int,
    strata: Optional[Mapping[str, str]] = None,
    together: Optional[Mapping[str, str]] = None,
) -> Dict[str, int]:
    """Cut utterances into parts, the same ones whatever their order and whoever asks.

    Args:
        names: of the utterances.
        parts: how many; at least 2.
        strata: label of each; the utterances of each label are spread evenly over the parts.
        together: a group of each, for example the speaker; a group is in one part as a whole.

    Returns:
        Name -> part, from 0. Names are put in order by their hash.

    Raises:
        ValueError: fewer than two parts, or fewer groups than parts.
    """
    if parts < 2:
        raise ValueError(f"two parts or more are needed, not {parts}")
    names = sorted(set(names))
    if together is not None:
        groups = parts_of_groups(sorted({together[name] for name in names}), parts)
        return {name: groups[together[name]] for name in names}
    labels: Dict[str, List[str]] = {}
    for name in names:
        labels.setdefault("" if strata is None else strata[name], []).append(name)
    found: Dict[str, int] = {}
    for label in sorted(labels):
        for name in sorted(labels[label], key=_rank):
            found[name] = len(found) % parts
    return found


def parts_of_groups(groups: Sequence[str], parts: int) -> Dict[str, int]:
    """Groups to parts in turn, in the order of their hashes; see :func:`parts_of`."""
    if len(groups) < parts:
        raise ValueError(f"{len(groups)} groups cannot be cut into {parts} parts")
    return {group: place % parts for place, group in enumerate(sorted(groups, key=_rank))}


def drawn_frames(name: str, frames: int, share: float) -> np.ndarray:
    """Which frames of an utterance are drawn: their places, ascending, int64.

    Each frame is drawn with probability ``share``, by a generator whose key is the utterance's
    name, so that neither other utterances nor jobs matter.
    """
    if share >= 1:
        return np.arange(frames)
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    values = np.random.Philox(key=key).random_raw(frames)
    return np.flatnonzero(values < np.uint64(int(share * 2**64)))


def chance_of(labels: np.ndarray, among: np.ndarray) -> float:
    """The share of ``among`` that has the most frequent of ``labels``: a guess without looking."""
    values, counts = np.unique(labels, return_counts=True)
    return float((among == values[counts.argmax()]).mean())


def _rank(name: str) -> Tuple[bytes, str]:
    return hashlib.blake2b(name.encode(), digest_size=8).digest(), name
