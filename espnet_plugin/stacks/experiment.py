"""A trained ESPnet experiment directory as a model in memory."""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
import yaml

from espnet_plugin.atomic import PathLike
from espnet_plugin.compat import torch_load


class ExperimentError(ValueError):
    """An experiment directory that cannot be loaded; the message is one line."""


@dataclass
class Experiment:
    """What :func:`load_experiment` returns."""

    model: Any
    """The ``ESPnetASRModel``, in evaluation mode."""
    args: argparse.Namespace
    """The training configuration, as in config.yaml."""
    token_list: List[str]
    """The output symbols; index 0 is the CTC blank."""
    directory: Path
    """The experiment directory."""
    checkpoint: Path
    """The file that the parameters came from."""


def load_experiment(
    exp_dir: PathLike, checkpoint: Optional[str] = None, device: str = "cpu"
) -> Experiment:
    """Build the model of an experiment, our encoders included, and load all its parameters.

    Unlike ESPnet's own loader this one refuses parameters that are missing, unknown or of
    another shape, and runs no code from the checkpoint (``weights_only``). Relative paths in
    config.yaml (the statistics file, a block plan) that are not below the current directory
    are looked for below the parents of ``exp_dir``, so an experiment loads from anywhere.

    Args:
        exp_dir: directory with config.yaml and checkpoints (or a model unpacked from ESPnet's
            zip file).
        checkpoint: file name in ``exp_dir``, for example ``valid.loss.ave.pth``. None: the
            average, else the best, by config.yaml's first ``best_model_criterion`` that is
            there, else any average (``valid.acc.ave_10best.pth`` too), best, or the last epoch's.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        ExperimentError: one line that names the file and what is wrong with it.
    """
    directory = Path(exp_dir)
    args = read_config(directory)
    path = _choose_checkpoint(directory, args, checkpoint)
    state = _read_checkpoint(path)
    from espnet_plugin.task import ASRTask

    built = _for_building(args, directory)
    try:
        model = ASRTask.build_model(built)
    except Exception as e:
        raise ExperimentError(
            f"{directory / 'config.yaml'}: cannot build the model: {_one_line(e)}"
        ) from e
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError) as e:
        raise ExperimentError(
            f"{path}: does not hold the parameters of the model in config.yaml: {_one_line(e)}"
        ) from None
    model.to(device).eval()
    return Experiment(model, args, list(built.token_list), directory, path)


def read_config(directory: Path) -> argparse.Namespace:
    """The training configuration of an experiment.

    Raises:
        ExperimentError: there is none, or it is damaged.
    """
    path = directory / "config.yaml"
    if not path.is_file():
        raise ExperimentError(f"{path}: not there; name a directory made by ESPnet's training")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ExperimentError(f"{path}: not YAML: {_one_line(e)}") from None
    keys = config if isinstance(config, dict) else {}
    missing = [key for key in ("encoder", "token_list") if key not in keys]
    if missing:
        raise ExperimentError(f"{path}: no ESPnet ASR configuration (no {missing[0]!r} in it)")
    return argparse.Namespace(**config)


def _choose_checkpoint(directory: Path, args: argparse.Namespace, name: Optional[str]) -> Path:
    there = sorted(p.name for p in directory.glob("*.pth") if p.is_file())
    if name is not None:
        if name not in there:
            listed = ", ".join(there) or "no .pth file"
            raise ExperimentError(f"{directory / name}: not there (the directory has {listed})")
        return directory / name
    stems = [".".join(c[:2]) for c in getattr(args, "best_model_criterion", None) or []]
    candidates = [f"{stem}.{kind}.pth" for kind in ("ave", "best") for stem in stems]
    for kind in ("*.ave.pth", "*.ave_*best.pth", "*.best.pth"):
        candidates += [n for n in there if fnmatch(n, kind)]
    candidates.append("latest.pth")
    epochs = [n for n in there if n.endswith("epoch.pth") and n[: -len("epoch.pth")].isdigit()]
    candidates += sorted(epochs, key=lambda n: int(n[: -len("epoch.pth")]), reverse=True)
    for candidate in candidates:
        if candidate in there:
            return directory / candidate
    raise ExperimentError(
        f"{directory}: no model to load (no valid.*.ave.pth, *.best.pth, latest.pth or "
        "*epoch.pth); name one with the checkpoint option"
    )


def _read_checkpoint(path: Path) -> Dict[str, torch.Tensor]:
    try:
        state = torch_load(path)
    except (ValueError, OSError) as e:
        raise ExperimentError(_one_line(e)) from None
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise ExperimentError(
            f"{path}: holds more than a model's tensors; name a model file, not checkpoint.pth"
        )
    return state


def _for_building(args: argparse.Namespace, directory: Path) -> argparse.Namespace:
    """A copy of ``args`` with paths found and no initialisation (parameters are loaded)."""
    built = copy.deepcopy(args)
    built.init = None
    built.token_list = _find(built.token_list, directory)
    for key, value in vars(built).items():
        if key.endswith("_conf") and isinstance(value, dict):
            setattr(built, key, {k: _find(v, directory) for k, v in value.items()})
    return built


def _find(value: Any, directory: Path) -> Any:
    if not isinstance(value, str) or "/" not in value or Path(value).exists():
        return value
    for parent in [directory, *directory.resolve().parents]:
        if (parent / value).exists():
            return str(parent / value)
    return value


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 400 else text[:397] + "..."
