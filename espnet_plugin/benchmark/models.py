"""What is compared: experiments and stacks, from any path that can be loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

from espnet_plugin.decode.data import model_rate
from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.experiment import ExperimentError, load_experiment
from espnet_plugin.stacks.files.hugging_face import weight_files
from espnet_plugin.stacks.files.recognise import kind_of_directory
from espnet_plugin.stacks.files.stored import FileError
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.wav2vec2.stack import RATE


class BenchmarkError(ValueError):
    """Models or options that cannot be compared; the message is one line."""


@dataclass(frozen=True)
class Candidate:
    """One of the models."""

    name: str
    module: Any
    """The ``ESPnetASRModel`` of an experiment, or a :class:`Stack`; in evaluation mode."""
    files: Tuple[Path, ...]
    """That its parameters came from."""
    rate: Optional[int]
    """Samples per second that it takes; None: not known."""

    @property
    def kind(self) -> str:
        """ "stack" or "experiment"."""
        return "stack" if isinstance(self.module, Stack) else "experiment"

    @property
    def file_bytes(self) -> int:
        """Of all its files."""
        return sum(path.stat().st_size for path in self.files)


def open_models(
    paths: Sequence[str],
    names: Optional[Sequence[str]] = None,
    checkpoint: Optional[str] = None,
    device: str = "cpu",
) -> List[Candidate]:
    """Load all models.

    Args:
        paths: ESPnet experiments, which stay whole models, and whatever else
            :func:`~espnet_plugin.stacks.load.load_stack` reads.
        names: one for each; None: those of the directories and files.
        checkpoint: file in every experiment; None: see :func:`load_experiment`.
        device: where they run.

    Raises:
        BenchmarkError: names that do not fit, models of different sampling rates, a stack that
            takes features.
        ExperimentError, StackError: a path that cannot be loaded.
    """
    names = list(names or map(_name, paths))
    if len(names) != len(paths) or len(set(names)) < len(names):
        raise BenchmarkError(f"--name: one name per model is needed, not {', '.join(names)}")
    models = [
        _open(name, Path(path), checkpoint, device) for name, path in zip(names, paths, strict=True)
    ]
    rates = {model.rate for model in models if model.rate is not None}
    if len(rates) > 1:
        raise BenchmarkError(f"--model: models of several sampling rates: {sorted(rates)}")
    return models


def _name(path: str) -> str:
    found = Path(path).resolve()
    return found.name if found.is_dir() else found.stem


def _open(name: str, path: Path, checkpoint: Optional[str], device: str) -> Candidate:
    if path.is_dir():
        try:
            kind = kind_of_directory(path)
        except FileError as error:
            raise ExperimentError(f"{path}: {error}") from error
        if kind == "espnet":
            experiment = load_experiment(path, checkpoint, device)
            rate = model_rate(experiment.args)
            return Candidate(name, experiment.model, (experiment.checkpoint,), rate)
    stack = load_stack(path, device)
    if stack.takes != "waveform":
        raise StackError(f"{path}: it takes {stack.takes}, no waveforms; name its experiment")
    files = weight_files(path)[0] if path.is_dir() else (path,)
    return Candidate(name, stack, files, _rate(stack))


def _rate(stack: Stack) -> Optional[int]:
    if isinstance(stack, ConformerStack):
        return None if stack.configuration is None else stack.configuration["rate"]
    return RATE
