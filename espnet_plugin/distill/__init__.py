"""Short training of an edited stack from its original: healing, and the teaching of mimics.

>>> from espnet_plugin.distill import SpeechBatches, Settings, heal, teach_mimic, train_task

The names below are imported when they are used first (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espnet_plugin.lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(
    globals(),
    {
        "batches": ("SpeechBatches",),
        "healing": ("Healing", "heal"),
        "mimic": ("teach_mimic",),
        "settings": ("Settings",),
        "task": ("train_task", "without_blocks"),
    },
)
