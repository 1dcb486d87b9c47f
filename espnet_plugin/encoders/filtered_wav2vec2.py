"""``filtered_wav2vec2``: a wav2vec 2.0-type model whose abnormal blocks are avoided."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from espnet_plugin.encoders.stack_conf import obtain_stack
from espnet_plugin.encoders.stack_encoder import StackEncoder
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.arms import filter_plan
from espnet_plugin.surgery.plan import BlockPlan


class FilteredWav2Vec2Encoder(StackEncoder):
    """wav2vec 2.0, HuBERT or WavLM, edited, to be fine-tuned on waveforms of 16 kHz.

    Chen, Asgari (2021, arXiv 2104.02851); Chen, Asgari, Dodge (ICASSP 2022).

    Args:
        input_size: 1.
        checkpoint: what :func:`espnet_plugin.stacks.load.load_stack` reads.
        plan: the path of a block plan; or
        abnormal_blocks, strategy, window: see :func:`espnet_plugin.surgery.arms.filter_plan`. With
            neither, the model stays as it is.
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
        abnormal_blocks: Optional[List[int]] = None,
        strategy: str = "drop",
        window: int = 16,
        stack: Optional[Dict[str, Any]] = None,
        **options: Any,
    ) -> None:
        def propose(loaded: Stack) -> Optional[BlockPlan]:
            if plan is not None and abnormal_blocks is not None:
                raise ValueError("give plan or abnormal_blocks, not both")
            if plan is not None:
                return BlockPlan.load(plan)
            if abnormal_blocks is None:
                return None
            return filter_plan(loaded.family, len(loaded.blocks), abnormal_blocks, strategy, window)

        obtained = obtain_stack(checkpoint, stack, propose)
        if not isinstance(obtained, Wav2Vec2Stack):
            raise ValueError(
                f"{checkpoint or 'stack'}: a {obtained.family} stack; use pruned_stack for it"
            )
        super().__init__(input_size, obtained, pretrained=stack is None, **options)
