"""A stack as plain values in a training configuration, and where an encoder's stack comes from.

A trained model is built again from its ``config.yaml`` without the checkpoint that its training
began with, so training writes there what the stack is made of: the option ``stack``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Callable, Dict, Mapping, Optional

import yaml

from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.stack import BUILDERS, Stack
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import RATE, Wav2Vec2Stack
from espnet_plugin.surgery.apply import edit
from espnet_plugin.surgery.plan import BlockPlan

Propose = Callable[[Stack], Optional[BlockPlan]]


def stack_values(stack: Stack) -> Dict[str, Any]:
    """What :func:`stack_from_values` needs: the unedited stack, and its edits in order.

    Returns:
        ``builder`` and ``config`` (see :meth:`Stack.describe`), and ``plans``; plain values.
    """
    plans = [yaml.safe_load(plan.to_yaml()) for plan in stack.plans]
    return {**stack.describe(), "plans": plans}


def stack_from_values(values: Mapping[str, Any]) -> Stack:
    """A stack with parameters as they are before any training.

    Args:
        values: of :func:`stack_values`. ``builder`` is wav2vec2 and ``plans`` is empty where they
            are not given, so ``{"config": {"blocks": 8, "width": 256}}`` is enough.

    Raises:
        ValueError: one line that names what makes no sense in the values.
    """
    unknown = [key for key in values if key not in ("builder", "config", "plans")]
    builder, config = values.get("builder", "wav2vec2"), values.get("config", {})
    if unknown or builder not in BUILDERS or not isinstance(config, Mapping):
        raise ValueError(
            f"stack: expected config, builder ({' or '.join(BUILDERS)}) and plans, not {values!r}"
        )
    if builder == "wav2vec2":
        stack: Stack = Wav2Vec2Stack(Wav2Vec2Config.from_dict(config))
    else:
        module, name = BUILDERS[builder].split(":")
        stack = getattr(import_module(module), name).build({"config": config})
    for plan in values.get("plans") or []:
        edit(stack, BlockPlan.parse(yaml.safe_dump(plan, sort_keys=False)))
    return stack


def start_from_checkpoint(encoder_conf: Dict[str, Any]) -> None:
    """Take out the values of a stack where there is a checkpoint to begin with, in place.

    A ``config.yaml`` has both; training that begins with it wants the checkpoint's parameters.
    """
    if encoder_conf.get("checkpoint") is not None:
        encoder_conf.pop("stack", None)


def stack_rate(encoder_conf: Mapping[str, Any]) -> Optional[int]:
    """Samples per second of the waveforms that the stack of ``encoder_conf`` takes, if it has one
    with values."""
    values = encoder_conf.get("stack")
    return None if values is None else values.get("config", {}).get("rate", RATE)


def obtain_stack(
    checkpoint: Optional[str], stack: Optional[Mapping[str, Any]], propose: Propose
) -> Stack:
    """The stack of an encoder's options.

    Args:
        checkpoint: what :func:`load_stack` reads; it is edited as ``propose`` says.
        stack: values of a stack that is edited already. Where they are given, nothing is read.
        propose: the plan for the stack of ``checkpoint``, or None.

    Raises:
        StackError: the checkpoint cannot be loaded.
        PlanError: the plan cannot be read or does not fit the stack.
        ValueError: neither of both is given, or ``stack`` makes no sense.
    """
    if stack is not None:
        return stack_from_values(stack)
    if checkpoint is None:
        raise ValueError("give encoder_conf a checkpoint (or the values of a stack)")
    loaded = load_stack(checkpoint)
    plan = propose(loaded)
    if plan is not None:
        edit(loaded, plan)
    return loaded.train()
