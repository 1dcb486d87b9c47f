"""Short training of an edited stack from its original: healing, and the teaching of mimics.

>>> from espnet_plugin.distill import SpeechBatches, Settings, heal, teach_mimic, train_task

The names below are imported when they are used first (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_plugin.distill.batches import SpeechBatches
    from espnet_plugin.distill.healing import Healing, heal
    from espnet_plugin.distill.mimic import teach_mimic
    from espnet_plugin.distill.settings import Settings
    from espnet_plugin.distill.task import train_task, without_blocks

__all__ = [
    "Healing",
    "Settings",
    "SpeechBatches",
    "heal",
    "teach_mimic",
    "train_task",
    "without_blocks",
]

_WHERE = {
    "SpeechBatches": "batches",
    "Healing": "healing",
    "heal": "healing",
    "teach_mimic": "mimic",
    "Settings": "settings",
    "train_task": "task",
    "without_blocks": "task",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
