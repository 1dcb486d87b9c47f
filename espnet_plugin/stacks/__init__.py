"""Loading a model as a stack of blocks, and looking at what its blocks compute.

>>> from espnet_plugin.stacks import load_stack
>>> stack = load_stack("wav2vec_small.pt")
>>> hidden, lengths = stack(waveforms, lengths)

The names below are imported when they are used first (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espnet_plugin.lazy import lazy_names

if TYPE_CHECKING:
    from espnet_plugin.stacks.errors import StackError
    from espnet_plugin.stacks.hooks import attention_maps, hidden_states
    from espnet_plugin.stacks.load import load_stack
    from espnet_plugin.stacks.stack import Stack

__all__ = ["Stack", "StackError", "attention_maps", "hidden_states", "load_stack"]

__getattr__, __dir__ = lazy_names(
    globals(),
    {
        "errors": ("StackError",),
        "hooks": ("attention_maps", "hidden_states"),
        "load": ("load_stack",),
        "stack": ("Stack",),
    },
)
