"""A stack to an ONNX file."""

from __future__ import annotations

import inspect
import json
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from espnet_plugin.atomic import PathLike, atomic_path
from espnet_plugin.export.compare import Difference, compare
from espnet_plugin.export.traceable import Encoder
from espnet_plugin.stacks.experiment import Experiment
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.version import __version__

OPSET = 17
"""Of the graph: the first with STFT, the last that torch 1.13 writes."""

BATCHES: Sequence[Sequence[float]] = ((1.7, 1.1), (0.16,), (3.1, 0.5, 2.0))
"""Seconds of the utterances of each batch that is compared, for hidden frames of 20 ms; in
proportion for others. The first batch is traced."""


def export_stack(
    stack: Stack, path: PathLike, experiment: Optional[Experiment] = None
) -> List[Difference]:
    """Write a stack, edited or not, as an ONNX graph for batches and lengths of any size.

    The graph takes ``waveforms`` (B, N) or ``features`` (B, T, F), float32, and ``lengths`` (B,),
    int64, and gives ``hidden`` (B, T', D), the last hidden state, zero on padded frames, or
    ``log_probs`` (B, T', V), and ``frames`` (B,), int64. Its metadata are those of
    :func:`metadata`. It is compared with the stack in onnxruntime before it gets its name.

    Args:
        stack: on the CPU.
        path: ``.onnx``; whole or not there.
        experiment: whose :func:`~espnet_plugin.stacks.asr.stack_of` the stack is; its CTC layer
            then follows the stack.

    Returns:
        How far the graph is from the stack on each of :data:`BATCHES`.

    Raises:
        ValueError: the stack has no exportable form, or the graph differs from it; one line.
        ImportError: onnx or onnxruntime is not installed.
    """
    onnx, _ = need("onnx"), need("onnxruntime")
    stack.eval()
    encoder = Encoder(stack, experiment).eval()
    batches = [noise(stack, seconds) for seconds in BATCHES]
    with atomic_path(path) as temporary:
        _trace(encoder, temporary, batches[0])
        model = onnx.load(str(temporary))
        values = metadata(stack)
        if experiment is not None:
            values["tokens"] = json.dumps(experiment.token_list, ensure_ascii=False)
        onnx.helper.set_model_props(model, values)
        onnx.save(model, str(temporary))
        return compare(temporary, stack, experiment, batches, str(path))


def _trace(encoder: Encoder, path: Path, batch: Tuple[Tensor, Tensor]) -> None:
    options: Dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    inputs, outputs = names(encoder.stack, encoder.experiment is not None)
    time = {0: "batch", 1: "time"}
    axes = {inputs: time, "lengths": {0: "batch"}, "frames": {0: "batch"}}
    axes[outputs] = {0: "batch", 1: "frame"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            encoder,
            batch,
            str(path),
            input_names=[inputs, "lengths"],
            output_names=[outputs, "frames"],
            dynamic_axes=axes,
            opset_version=OPSET,
            **options,
        )


def names(stack: Stack, ctc: bool) -> Tuple[str, str]:
    """Of the graph's first input and first output."""
    first = "waveforms" if stack.takes == "waveform" else "features"
    return first, "log_probs" if ctc else "hidden"


def metadata(stack: Stack) -> Dict[str, str]:
    """What the file says of the stack.

    Returns:
        ``family``, ``frame_shift`` (seconds), ``blocks`` (numbers, in the unedited stack, of those
        that are left; JSON), ``plans`` (YAML texts of the edits, the oldest first; JSON) and
        ``producer``.
    """
    return {
        "family": stack.family,
        "frame_shift": repr(stack.frame_shift),
        "blocks": json.dumps(stack.block_numbers),
        "plans": json.dumps([plan.to_yaml() for plan in stack.plans]),
        "producer": f"espnet_plugin {__version__}",
    }


def noise(stack: Stack, seconds: Sequence[float]) -> Tuple[Tensor, Tensor]:
    """A padded batch of noise, of so many seconds each (see :data:`BATCHES`).

    Returns:
        (B, N) or (B, T, F), zero after each end; lengths (B,).
    """
    generator = torch.Generator().manual_seed(len(seconds))
    shape: Tuple[int, ...] = ()
    rate: float
    if stack.takes != "waveform":
        shape, rate = (stack.describe()["config"]["input_size"],), 100.0
    else:
        rate = 16000.0 * stack.frame_shift / 0.02
    lengths = torch.tensor([int(rate * s) for s in seconds])
    inputs = 0.1 * torch.randn(len(seconds), int(lengths.max()), *shape, generator=generator)
    real = torch.arange(inputs.size(1)) < lengths[:, None]
    return inputs * real.view(*real.shape, *[1] * len(shape)), lengths


def need(package: str) -> ModuleType:
    """Import an optional package.

    Raises:
        ImportError: one line that says how to install it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        said = " ".join(str(error).split())
        raise ImportError(f"{said}: pip install 'espnet_plugin[export]'") from error
