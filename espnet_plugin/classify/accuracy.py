"""How often a classifier is right, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, Sequence, Tuple

import torch
from torch import nn

from espnet_plugin.analysis.probes.capacity import Capacity
from espnet_plugin.classify.classifier import Classifier
from espnet_plugin.classify.recordings import Recordings
from espnet_plugin.classify.train import label_numbers


@dataclass(frozen=True)
class Accuracy:
    """Right answers among all."""

    right: int
    total: int

    @property
    def value(self) -> float:
        """0 to 1."""
        return self.right / self.total

    def interval(self, z: float = 1.959964) -> Tuple[float, float]:
        """Wilson's score interval (1927); ``z`` of the normal distribution, 95 % by default."""
        n, p = self.total, self.value
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def to_dict(self) -> Dict[str, Any]:
        """For JSON."""
        low, high = self.interval()
        return {"right": self.right, "total": self.total, "accuracy": self.value,
                "low": low, "high": high}  # fmt: skip


@torch.no_grad()
def measure(classifier: Classifier, recordings: Recordings) -> Accuracy:
    """The accuracy on ``recordings``; the classifier's mode is left as it was.

    Raises:
        DataError: a label that the classifier does not have.
    """
    numbers = label_numbers(recordings, classifier.labels)
    device = classifier.head.weight.device
    training = classifier.training
    classifier.eval()
    right = 0
    batches = recordings.batches()
    for batch in batches.epoch(0):
        names, waveforms, lengths = batches.read(batch)
        found = classifier(waveforms.to(device), lengths.to(device)).argmax(dim=1).tolist()
        right += sum(numbers[name] == label for name, label in zip(names, found, strict=True))
    classifier.train(training)
    return Accuracy(right, len(recordings.utterances))


def accuracy_of(head: nn.Linear, labels: Sequence[str], recordings: Recordings) -> Capacity:
    """The accuracy under a fixed head as the capacity of a stack."""
    return lambda stack: measure(Classifier(stack, labels, head), recordings).value
