"""Train a classifier, stack and head together."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

import torch
from torch import Tensor, nn

from espnet_plugin.atomic import PathLike
from espnet_plugin.classify.classifier import Classifier, mean_pool
from espnet_plugin.classify.recordings import Recordings
from espnet_plugin.distill.settings import Settings
from espnet_plugin.distill.task import Task
from espnet_plugin.distill.train import train
from espnet_plugin.stacks.batches import Batch, DataError


def train_classifier(
    classifier: Classifier,
    recordings: Recordings,
    settings: Settings,
    batch_seconds: float = 14.0,
    directory: Optional[PathLike] = None,
) -> List[Dict[str, Any]]:
    """Train all parameters in place with cross-entropy; nothing is held out.

    Args:
        classifier: on the device where it is to be trained; in evaluation mode afterwards.
        recordings: the training set, in batches of ``batch_seconds``, drawn afresh in each epoch.
        settings: how long and how fast; ``dropout`` turns layer drop on, too.
        directory: see :func:`espnet_plugin.distill.train.train`, which goes on from its checkpoint.

    Returns:
        The losses over training, in nats; see :class:`espnet_plugin.distill.checkpoint.Progress`.

    Raises:
        ValueError: as ``train``.
        DataError: a label that the classifier does not have.
    """
    numbers = label_numbers(recordings, classifier.labels)
    device = classifier.head.weight.device

    def objective(batch: Batch) -> Dict[str, Tensor]:
        names, waveforms, lengths = batch
        targets = torch.tensor([numbers[name] for name in names], device=device)
        logits = classifier(waveforms.to(device), lengths.to(device))
        right = (logits.argmax(dim=1) == targets).float().mean()
        return {"loss": nn.functional.cross_entropy(logits, targets), "accuracy": right}

    batches = recordings.batches(batch_seconds, settings.seed)
    learned = list(classifier.parameters())
    history = train(
        objective, classifier, learned, batches, settings, None, directory, "classify",
        {"labels": list(classifier.labels), "batch_seconds": batch_seconds},
    )  # fmt: skip
    classifier.eval()
    return history


def task_of(head: nn.Linear, labels: Sequence[str], recordings: Recordings) -> Task:
    """The loss for :func:`espnet_plugin.distill.task.train_task`: cross-entropy under ``head``.

    Raises:
        DataError: a label that is not among ``labels``.
    """
    numbers = label_numbers(recordings, labels)

    def loss(hidden: Tensor, frames: Tensor, names: Sequence[str]) -> Tensor:
        targets = torch.tensor([numbers[name] for name in names], device=hidden.device)
        return nn.functional.cross_entropy(head(mean_pool(hidden, frames)), targets)

    return loss


def label_numbers(recordings: Recordings, labels: Sequence[str]) -> Dict[str, int]:
    """Name -> number of its label among ``labels``.

    Raises:
        DataError: a label that is not there.
    """
    number = {label: place for place, label in enumerate(labels)}
    for name, label in recordings.labels.items():
        if label not in number:
            raise DataError(f"{name}: label {label!r} is none of the classifier's")
    return {name: number[label] for name, label in recordings.labels.items()}
