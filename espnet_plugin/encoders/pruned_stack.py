"""``pruned_stack``: any stack, wav2vec 2.0-type or an ESPnet Conformer, with fewer blocks."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from espnet_plugin.encoders.stack_conf import obtain_stack
from espnet_plugin.encoders.stack_encoder import RAW, StackEncoder
from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.arms import keep_plan
from espnet_plugin.surgery.plan import BlockPlan


class PrunedStackEncoder(StackEncoder):
    """A pruned stack, to be healed by training or used as it is.

    Dorszewski, Jacobsen, Tětková, Hansen (ICASSP 2025, arXiv 2409.16302).

    Args:
        input_size: 1: the stack takes waveforms, with everything that its checkpoint has before the
            blocks. Else the size of the features that ESPnet's front end gives (after its
            normalisation and pre-encoder), for the blocks of a Conformer or Transformer alone.
        checkpoint: what :func:`espnet_plugin.stacks.load.load_stack` reads, such as the directory
            of an ESPnet experiment.
        plan: the path of a block plan with any actions; or
        keep_blocks: the numbers of the blocks that are left. With neither, all of them.
        stack: plain values from which it is built without ``checkpoint``; training writes them.
        options: see :class:`StackEncoder`.

    Raises:
        StackError, PlanError, ValueError: one line that says which option does not fit and why.
    """

    def __init__(
        self,
        input_size: int,
        checkpoint: Optional[str] = None,
        plan: Optional[str] = None,
        keep_blocks: Optional[List[int]] = None,
        stack: Optional[Dict[str, Any]] = None,
        **options: Any,
    ) -> None:
        def propose(loaded: Stack) -> Optional[BlockPlan]:
            if plan is not None and keep_blocks is not None:
                raise ValueError("give plan or keep_blocks, not both")
            if plan is not None:
                return BlockPlan.load(plan)
            if keep_blocks is None:
                return None
            return keep_plan(loaded.family, len(loaded.blocks), keep_blocks)

        obtained = obtain_stack(checkpoint, stack, propose)
        if isinstance(obtained, ConformerStack) and input_size != RAW:
            _take_features(obtained, input_size)
        super().__init__(input_size, obtained, pretrained=stack is None, **options)


def _take_features(stack: ConformerStack, input_size: int) -> None:
    """Take out what ESPnet's model has before the encoder."""
    stack.frontend = stack.normalize = stack.preencoder = None
    stack.takes = "features"
    if stack.configuration is not None:
        parts = {part: None for part in ("frontend", "normalize", "preencoder")}
        stack.configuration = {**stack.configuration, **parts, "input_size": input_size}
