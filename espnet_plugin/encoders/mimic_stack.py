"""``mimic_stack``: a small network in the place of all blocks of a teacher."""

from __future__ import annotations

from typing import Any, Dict, Optional

from espnet_plugin.encoders.stack_conf import obtain_stack
from espnet_plugin.encoders.stack_encoder import StackEncoder
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.actions import Mimic
from espnet_plugin.surgery.mimic import MimicBlock
from espnet_plugin.surgery.plan import BlockPlan, StackDescription


class MimicStackEncoder(StackEncoder):
    """The front of a teacher, and a mimic of its blocks.

    Dorszewski, Jacobsen, Tětková, Hansen (ICASSP 2025, arXiv 2409.16302), section on mimicking.

    Args:
        input_size: 1: waveforms.
        checkpoint: the teacher, whatever :func:`espnet_plugin.stacks.load.load_stack` reads; its
            blocks give way to a mimic with parameters drawn at random. Or a stack whose blocks gave
            way to a taught mimic already, which stays as it is; then ``hidden`` is not given.
        hidden: width inside the mimic's layers.
        layers: how many.
        kind: "linear" or "transformer", see :mod:`espnet_plugin.surgery.mimic`.
        stack: plain values from which it is built without ``checkpoint``; training writes them.
        options: see :class:`StackEncoder`.

    Raises:
        StackError, PlanError, ValueError: one line that says which option does not fit and why.
    """

    def __init__(
        self,
        input_size: int,
        checkpoint: Optional[str] = None,
        hidden: Optional[int] = None,
        layers: int = 2,
        kind: str = "linear",
        stack: Optional[Dict[str, Any]] = None,
        **options: Any,
    ) -> None:
        def propose(teacher: Stack) -> Optional[BlockPlan]:
            taught = all(isinstance(block, MimicBlock) for block in teacher.blocks)
            if taught and hidden is not None:
                raise ValueError(f"{checkpoint}: is a mimic already; leave hidden out")
            if taught:
                return None
            if hidden is None:
                raise ValueError("give hidden, the width inside the mimic's layers")
            blocks = len(teacher.blocks)
            action = Mimic((0, blocks - 1), hidden, layers, kind)
            return BlockPlan(StackDescription(teacher.family, blocks), (action,))

        obtained = obtain_stack(checkpoint, stack, propose)
        super().__init__(input_size, obtained, pretrained=stack is None, **options)
