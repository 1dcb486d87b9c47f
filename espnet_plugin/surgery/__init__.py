"""Block plans, and the edits that carry them out.

>>> from espnet_plugin.surgery import BlockPlan, apply_plan
>>> edited = apply_plan(stack, BlockPlan.load("plan.yaml"))

The names below are imported when they are used first (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espnet_plugin.lazy import lazy_names

if TYPE_CHECKING:
    from espnet_plugin.surgery.apply import apply_plan
    from espnet_plugin.surgery.plan import BlockPlan, PlanError, StackDescription

__all__ = ["BlockPlan", "PlanError", "StackDescription", "apply_plan"]

__getattr__, __dir__ = lazy_names(
    globals(),
    {
        "apply": ("apply_plan",),
        "plan": ("BlockPlan", "PlanError", "StackDescription"),
    },
)
