"""The only file that knows which ESPnet, torch, torchaudio or k2 is installed.

ESPnet 202609 moved ``espnet.nets`` to ``espnet2.legacy.nets``; what others need from there is
an attribute of this module, imported on first use: ``from espnet_plugin.compat import
RelPositionalEncoding``.
"""

from __future__ import annotations

import inspect
import os
import pickle
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_TRANSFORMER = "pytorch_backend.transformer"
_MOVED = {
    "RelPositionalEncoding": f"{_TRANSFORMER}.embedding",
    "TooShortUttError": f"{_TRANSFORMER}.subsampling",
}

PACKAGES = ("espnet", "torch", "torchaudio", "k2", "lhotse", "fairseq")
"""What :func:`versions` looks for."""


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(espnet_nets(_MOVED[name]), name)


def espnet_nets(module: str) -> ModuleType:
    """Import ``espnet.nets.<module>``, or ``espnet2.legacy.nets.<module>`` (ESPnet >= 202609).

    Raises:
        ModuleNotFoundError: neither exists.
    """
    moved = find_spec("espnet2.legacy") is not None
    return import_module(f"{'espnet2.legacy' if moved else 'espnet'}.nets.{module}")


def versions() -> dict[str, str | None]:
    """The installed version of each of :data:`PACKAGES`, ``None`` where it is absent."""
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = installed_version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


@cache
def conformer_takes(option: str) -> bool:
    """Whether the installed ESPnet's ConformerEncoder has ``option``, such as ``use_sdpa``."""
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder

    return option in inspect.signature(ConformerEncoder.__init__).parameters


@cache
def utterance_mvn_pads_with_zeros() -> bool:
    """Whether the installed ESPnet's ``utterance_mvn`` leaves padding zero where it takes means
    away (from 202611); before, what it took away stayed there and counted in variances."""
    import torch
    from espnet2.layers.utterance_mvn import utterance_mvn

    padded, _ = utterance_mvn(torch.tensor([[[1.0], [0.0]]]), torch.tensor([1]))
    return bool(padded[0, 1, 0] == 0)


def being_compiled() -> bool:
    """Whether torch.compile is reading the calling code (never before torch 2.1)."""
    import torch

    compiler = getattr(torch, "compiler", None)
    return compiler is not None and compiler.is_compiling()


def cpu_autocast() -> bool:
    """Whether operations on the CPU run under autocast."""
    import torch

    enabled: Any = torch.is_autocast_enabled
    try:
        return bool(enabled("cpu"))
    except TypeError:  # before torch 2.4
        return bool(torch.is_autocast_cpu_enabled())


def torch_load(path: str | os.PathLike[str], map_location: Any = "cpu") -> Any:
    """``torch.load`` that runs no code from the file (``weights_only=True``).

    Args:
        path: a file of ``torch.save`` with nothing but tensors, numbers, strings and
            containers of these, such as ESPnet's ``valid.loss.ave.pth``.
        map_location: as for ``torch.load``.

    Raises:
        ValueError: the file holds other objects, or is no such file.
    """
    import torch

    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["it ends too early"])[0]
        if isinstance(error, pickle.UnpicklingError):  # torch says how to run its code all the same
            reason = "it is damaged or holds other objects"
        raise ValueError(f"{path}: not a file of tensors and plain values: {reason}") from error
    except OSError as error:
        if error.filename is not None:  # it cannot be opened
            raise
        reason = "it ends too early"
        raise ValueError(f"{path}: not a file of tensors and plain values: {reason}") from error


def require_k2() -> ModuleType:
    """Import k2.

    Raises:
        ImportError: k2 is absent, which the message says how to install; or it does not
            import, with what it said (as a rule that it was built for another torch).
    """
    import torch

    advice = (
        f"pip install 'espnet_plugin[k2]' with torch 1.13.1, or the wheel for torch "
        f"{torch.__version__} from https://k2-fsa.github.io/k2/installation/index.html"
    )
    if find_spec("k2") is None:
        raise ImportError(f"k2 is not installed: {advice}")
    try:
        return import_module("k2")
    except ImportError as error:
        said = " ".join(str(error).split())
        raise ImportError(f"k2 does not import ({said}): {advice}") from error
