"""Block plans, and the edits that carry them out.

>>> from espnet_plugin.surgery import BlockPlan, apply_plan
>>> edited = apply_plan(stack, BlockPlan.load("plan.yaml"))

The names below are imported when they are used first (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espnet_plugin.surgery.apply import apply_plan
    from espnet_plugin.surgery.plan import BlockPlan, PlanError, StackDescription

__all__ = ["BlockPlan", "PlanError", "StackDescription", "apply_plan"]

_WHERE = {
    "BlockPlan": "plan",
    "PlanError": "plan",
    "StackDescription": "plan",
    "apply_plan": "apply",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
