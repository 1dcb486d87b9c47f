"""Loading a model as a stack of blocks, and looking at what its blocks compute.

>>> from espnet_plugin.stacks import load_stack
>>> stack = load_stack("wav2vec_small.pt")
>>> hidden, lengths = stack(waveforms, lengths)

The names below are imported when they are used first (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_plugin.stacks.errors import StackError
    from espnet_plugin.stacks.hooks import attention_maps
    from espnet_plugin.stacks.load import load_stack
    from espnet_plugin.stacks.stack import Stack

__all__ = ["Stack", "StackError", "attention_maps", "load_stack"]

_WHERE = {
    "Stack": "stack",
    "StackError": "errors",
    "attention_maps": "hooks",
    "load_stack": "load",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
