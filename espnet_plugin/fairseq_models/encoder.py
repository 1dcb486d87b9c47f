"""The transformer of fairseq's wav2vec 2.0 as a stack that plans edit."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from espnet_plugin.fairseq_models.options import FAMILY
from espnet_plugin.stacks.files.fairseq import stack_config, translate
from espnet_plugin.stacks.files.settings import Settings
from espnet_plugin.stacks.parameters import fill
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.apply import edit
from espnet_plugin.surgery.plan import BlockPlan


class FilteredEncoder(nn.Module):
    """In the place of fairseq's ``TransformerEncoder``: the same computation, with edits.

    Args:
        encoder: fairseq's, whose parameters are taken over.
        cfg: the model's configuration.

    Attributes:
        stack: the blocks and what is right before and after them; of the front end it has the
            positional convolution alone, for the model has its own.

    Raises:
        ValueError: a layout that is not known, such as that of a Conformer.
    """

    def __init__(self, encoder: nn.Module, cfg: Any) -> None:
        super().__init__()
        values = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
        settings = Settings(values)
        settings.require("checkpoint_activations", False)
        config = stack_config(settings, Settings({}), FAMILY, projection=True)
        self.stack = Wav2Vec2Stack(config)
        front = self.stack.frontend
        del front.convolutions, front.norm, front.projection, front.mask_embedding, front.dropout
        tensors: Any = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
        renamed: Any = translate(tensors)
        fill(self.stack, renamed)

    def filter(self, plan: Optional[BlockPlan]) -> None:
        """Edit the stack.

        Raises:
            PlanError: the plan does not fit.
        """
        if plan is not None:
            edit(self.stack, plan)

    def forward(
        self, x: Tensor, padding_mask: Optional[Tensor] = None, layer: Optional[int] = None
    ) -> Tuple[Tensor, List[Any]]:
        """As fairseq's encoder.

        Args:
            x: (B, T, D), the projected features, masked or not.
            padding_mask: (B, T), true on padded frames, the last of each utterance; None: there
                are none.
            layer: the last block to run, counted among those that are left; None: all.

        Returns:
            The last hidden state (B, T, D); and for each block that ran (hidden state (T, B, D),
            None, None).
        """
        stack = self.stack
        if padding_mask is None:
            lengths = torch.full((len(x),), x.size(1), dtype=torch.int64, device=x.device)
        else:
            lengths = (~padding_mask).sum(1)
        state = stack.enter(x, lengths)
        results = []
        for place in range(len(stack.blocks) if layer is None else layer + 1):
            state = stack.step(place, state)
            results.append((state.x.transpose(0, 1), None, None))
        return (state.x if layer is not None else stack.finish(state.x)), results
