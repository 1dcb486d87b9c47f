"""The parts of an ESPnet model up to its encoder, from plain values and back."""

from __future__ import annotations

import argparse
import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional

import humanfriendly
import numpy
from torch import nn

PARTS = ("frontend", "normalize", "preencoder", "encoder")


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
    """Build the parts as ESPnet's ``build_model`` does, with parameters that mean nothing yet."""
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
