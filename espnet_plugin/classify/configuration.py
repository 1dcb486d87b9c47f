"""What a classifier begins from: a YAML file with a stack's layout and training options."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

import torch
import yaml

from espnet_plugin.atomic import PathLike
from espnet_plugin.classify.classifier import Classifier
from espnet_plugin.distill.settings import Settings
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack


@dataclass(frozen=True)
class Configuration:
    """A stack's layout, and how it is trained with a head."""

    stack: Wav2Vec2Config
    train: Settings
    batch_seconds: float


def read_configuration(path: PathLike) -> Configuration:
    """Read the keys ``stack`` (see :class:`Wav2Vec2Config`), ``train`` (:class:`Settings`) and
    ``batch_seconds``.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
    """
    try:
        values: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    keys = {field.name for field in fields(Configuration)}
    if not isinstance(values, dict) or set(values) != keys:
        raise ValueError(f"{path}: expected the keys {', '.join(sorted(keys))}")
    try:
        return Configuration(
            Wav2Vec2Config.from_dict(values["stack"]),
            settings_from(values["train"]),
            float(values["batch_seconds"]),
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Training settings from plain values.

    Raises:
        ValueError: an option that is not known, or a value that makes no sense.
    """
    known = {field.name for field in fields(Settings)}
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ValueError(f"unknown training option {unknown[0]!r}")
    return Settings(**values)


def new_classifier(
    configuration: Configuration, labels: Sequence[str], model: Optional[PathLike] = None
) -> Classifier:
    """A classifier to be trained.

    Args:
        configuration: its seed is that of the parameters that are new.
        labels: the classes.
        model: whatever :func:`load_stack` reads, to start from in place of a stack of the layout of
            ``configuration``, from which it then takes the layer drop alone, where it can have it.

    Raises:
        StackError: as :func:`load_stack`.
    """
    torch.manual_seed(configuration.train.seed)
    if model is None:
        return Classifier(Wav2Vec2Stack(configuration.stack), labels)
    stack = load_stack(model)
    for block in stack.blocks:
        if hasattr(block, "layer_drop"):
            block.layer_drop = configuration.stack.layer_drop  # type: ignore[assignment]
    return Classifier(stack, labels)
