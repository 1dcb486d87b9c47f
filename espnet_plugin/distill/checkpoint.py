"""A training that was cut off, continued as if it had not been."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from torch import Tensor, nn

from espnet_plugin.atomic import PathLike, atomic_open
from espnet_plugin.compat import torch_load

FORMAT = "espnet_plugin distill 1"

_NAMES = {"weights": "weights of hidden, posteriors and ctc", "pairs": "pairs of --blocks"}


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        updates: that were made (or left out because the gradient was no number).
        seconds: that it took.
        epoch, batch: where the next batch is.
        history: at each look at the held-out data ``updates``, ``seconds``, the mean of each term
            since the last look, and ``valid``, the terms on held-out data (empty without any).
        best: the least held-out loss; None: there is none yet.
    """

    updates: int = 0
    seconds: float = 0.0
    epoch: int = 0
    batch: int = 0
    history: List[Dict[str, Any]] = field(default_factory=list)
    best: Optional[float] = None


Tensors = Dict[str, Tensor]


def changing(module: nn.Module) -> Tensors:
    """What training changes in a module: parameters that need a gradient, and buffers.

    Non-persistent buffers stay out; a shared block is there once.
    """
    fixed = {id(p) for p in module.parameters() if not p.requires_grad}
    return {
        name: tensor.detach().clone()
        for name, tensor in module.state_dict(keep_vars=True).items()
        if id(tensor) not in fixed
    }


def restore(module: nn.Module, tensors: Tensors) -> None:
    """Put back what :func:`changing` gave.

    Raises:
        KeyError: a name that the module does not have.
    """
    own = module.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def save(
    path: PathLike,
    settings: Dict[str, Any],
    progress: Progress,
    learner: nn.Module,
    best: Tensors,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write everything that the rest of a training depends on, whole or not at all.

    Plain values are JSON text: torch 1.13 reads no floats beside tensors without running code.
    """
    moments = {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    content = {
        "format": FORMAT,
        "settings": json.dumps(settings, sort_keys=True),
        "progress": json.dumps(vars(progress)),
        "learner": changing(learner),
        "best": best,
        "optimizer": moments,
        "random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with atomic_open(path, "wb") as stream:
        torch.save(content, stream)


def load(
    path: PathLike,
    settings: Dict[str, Any],
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> tuple[Progress, Tensors]:
    """Read what :func:`save` wrote, into learner and optimiser.

    Returns:
        The progress, and the best parameters so far.

    Raises:
        ValueError: one line that names the file: it is none of ours, or of other settings.
    """
    content = torch_load(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: its format is not {FORMAT!r}")
    found = json.loads(content["settings"])
    others = [
        f"{_NAMES.get(name, name)} {found.get(name)!r}, not {settings.get(name)!r}"
        for name in sorted({*found, *settings})
        if found.get(name) != settings.get(name)
    ]
    if others:
        raise ValueError(
            f"{path}: made with {'; '.join(others)}; give what it was made with to continue, or "
            f"delete {Path(path).parent} to begin anew"
        )
    restore(learner, content["learner"])
    state: Dict[int, Dict[str, Tensor]] = {}
    for name, value in content["optimizer"].items():
        index, _, part = name.partition(".")
        state.setdefault(int(index), {})[part] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    torch.set_rng_state(content["random"])
    if torch.cuda.is_available() and content["cuda_random"]:
        torch.cuda.set_rng_state_all(content["cuda_random"])
    return Progress(**json.loads(content["progress"])), content["best"]
