"""The parts of an ESPnet model up to its encoder, from plain values and back."""

from __future__ import annotations

import argparse
import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

import humanfriendly
import numpy
from torch import nn

from espnet_plugin.registry import ENCODERS

PARTS = ("frontend", "normalize", "preencoder", "encoder")

SAFE: Dict[str, Tuple[Optional[str], ...]] = {
    "frontend": (None, "default", "sliding_window"),
    "normalize": (None, "global_mvn", "utterance_mvn"),
    "preencoder": (None, "sinc", "linear"),
    "encoder": ("conformer", "transformer", *ENCODERS),
    "postencoder": (None, "length_adaptor"),
    "decoder": (
        *(None, "transformer", "rnn", "transducer", "mlm", "s4"),
        *("lightweight_conv", "lightweight_conv2d", "dynamic_conv", "dynamic_conv2d"),
    ),
}
"""Parts that are made of their configuration alone. Others of ESPnet (fairseq's, s3prl's, Whisper,
…) fetch or unpickle what the configuration names, which could run anything."""


@dataclass
class Parts:
    """What an ``ESPnetASRModel`` is made of, in the order of use from ``frontend`` on."""

    encoder: Any
    frontend: Optional[nn.Module] = None
    """Waveform to features."""
    normalize: Optional[nn.Module] = None
    preencoder: Optional[nn.Module] = None
    rate: int = 16000
    """Samples per second of the waveform."""


def check_parts(configuration: Mapping[str, Any]) -> None:
    """Refuse a configuration whose model could run what it names.

    Raises:
        ValueError: a part that is not in :data:`SAFE`.
    """
    for part, safe in SAFE.items():
        name = configuration.get(part)
        if name is not None and str(name).lower() not in (*safe, "none", "null", "nil"):
            listed = ", ".join(known for known in safe if known is not None)
            raise ValueError(f"its {part} is {name!r}; only {listed} can be loaded as a stack")


def configuration_of(args: argparse.Namespace) -> Dict[str, Any]:
    """What :func:`parts_of` needs, out of a training configuration; plain values, no paths.

    Global statistics are left out: they are buffers of the model. The groups of a
    reuse_conformer are left out too: they are a plan.
    """
    configuration: Dict[str, Any] = {"input_size": args.input_size}
    for part in PARTS:
        configuration[part] = getattr(args, part, None)
        configuration[f"{part}_conf"] = copy.deepcopy(getattr(args, f"{part}_conf", None) or {})
    configuration["normalize_conf"].pop("stats_file", None)
    configuration["encoder_conf"].pop("reuse_groups", None)
    rate = configuration["frontend_conf"].get("fs", 16000)
    configuration["rate"] = humanfriendly.parse_size(rate) if isinstance(rate, str) else rate
    return configuration


def parts_of(configuration: Dict[str, Any]) -> Parts:
    """Build the parts as ESPnet's ``build_model`` does, with parameters that mean nothing yet.

    Raises:
        ValueError: as :func:`check_parts`.
    """
    check_parts(configuration)
    from espnet_plugin.task import ASRTask  # noqa: F401 (our encoders are choices from here on)

    frontend = normalize = preencoder = None
    size = configuration["input_size"]
    if size is None:
        frontend = _make("frontend", configuration)
        size = frontend.output_size()
    if configuration["normalize"] == "global_mvn":
        with tempfile.TemporaryDirectory() as directory:
            stats = Path(directory) / "feats_stats.npz"
            zeros = numpy.zeros(size)
            numpy.savez(stats, count=1, sum=zeros, sum_square=zeros)
            normalize = _make("normalize", configuration, stats_file=str(stats))
    elif configuration["normalize"] is not None:
        normalize = _make("normalize", configuration)
    if configuration["preencoder"] is not None:
        preencoder = _make("preencoder", configuration)
        size = preencoder.output_size()
    encoder = _make("encoder", configuration, input_size=size)
    return Parts(encoder, frontend, normalize, preencoder, configuration["rate"])


def _make(part: str, configuration: Dict[str, Any], **more: Any) -> Any:
    from espnet2.tasks import asr

    choices = getattr(asr, f"{part}_choices")
    return choices.get_class(configuration[part])(**configuration[f"{part}_conf"], **more)
