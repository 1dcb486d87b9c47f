"""An ESPnet encoder, Conformer, Transformer or our reuse_conformer, as a stack."""

from __future__ import annotations

import copy
import math
from typing import Any, Dict, Mapping, Optional, Tuple

import torch
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from torch import Tensor, nn

from espnet_plugin.encoders.embedding import SUBSAMPLINGS, embed_features
from espnet_plugin.encoders.faster import faster
from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder
from espnet_plugin.stacks.conformer_block import ConformerBlock
from espnet_plugin.stacks.espnet_parts import Parts, configuration_of, parts_of
from espnet_plugin.stacks.experiment import Experiment
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.stacks.state import State, mask_of
from espnet_plugin.surgery.plan import BlockPlan


class ConformerStack(Stack):
    """A stack of ESPnet's blocks.

    The stack has modules of its own around the very parameters of the encoder, so that edits
    leave the encoder as it is. The groups of a reuse_conformer become the stack's first plan.

    Args:
        parts: the encoder, and what comes before it in the model.
        configuration: plain values from which the parts can be built again; None: the stack
            cannot be saved.

    Raises:
        ValueError: an encoder that is no plain stack of blocks: another class, with intermediate
            outputs fed back, or trimmed by them.
        TypeError: a block of an unknown kind.
    """

    def __init__(self, parts: Parts, configuration: Optional[Dict[str, Any]] = None) -> None:
        encoder = parts.encoder
        if not isinstance(encoder, (ConformerEncoder, TransformerEncoder)):
            raise ValueError(f"{type(encoder).__name__} is no Conformer and no Transformer")
        for option in ("interctc_use_conditioning", "ctc_trim"):
            if getattr(encoder, option, False):
                raise ValueError(f"an encoder with {option} is more than a stack of blocks")
        encoder = _own(encoder)
        super().__init__([ConformerBlock(layer) for layer in encoder.encoders])
        self.family = "conformer" if isinstance(encoder, ConformerEncoder) else "transformer"
        self.width = encoder.output_size()
        self.takes = "features" if parts.frontend is None else "waveform"
        self.configuration = configuration
        self.frontend = parts.frontend
        self.normalize = parts.normalize
        self.preencoder = parts.preencoder
        self.embedding = encoder.embed
        self.after_norm = encoder.after_norm if encoder.normalize_before else None
        hop, rate = getattr(parts.frontend, "hop_length", math.nan), parts.rate
        self.frame_shift = SUBSAMPLINGS.get(type(encoder.embed), 1) * hop / rate
        if isinstance(encoder, ReuseConformerEncoder) and len(encoder.groups) < len(self.blocks):
            self.plans = (BlockPlan.from_groups(encoder.groups, self.family),)
        faster(self.blocks)
        faster(self.embedding)

    @classmethod
    def from_experiment(cls, experiment: Experiment) -> ConformerStack:
        """The encoder of an experiment, which takes what the model takes.

        Raises:
            ValueError, TypeError: as the constructor.
        """
        model = experiment.model
        frontend = model.frontend
        conf = configuration_of(experiment.args)
        parts = Parts(model.encoder, frontend, model.normalize, model.preencoder, conf["rate"])
        return cls(parts, conf).train(model.training)

    def embed(self, inputs: Tensor, lengths: Optional[Tensor] = None) -> State:
        """Everything before block 0, see :meth:`Stack.embed`.

        Raises:
            TooShortUttError: too short for the subsampling.
        """
        features, lengths = self.features(inputs, lengths)
        masks = torch.arange(features.size(1), device=features.device) < lengths[:, None]
        x, positions, masks = embed_features(self.embedding, features, masks.unsqueeze(1))
        frames = masks.squeeze(1).sum(1)
        return State(x, frames, mask_of(frames, x.size(1)), positions)

    def features(self, inputs: Tensor, lengths: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """What comes before the encoder of a model: its front end, normalisation, pre-encoder.

        Args:
            inputs, lengths: as for :meth:`embed`.

        Returns:
            (B, T, F) features, ``inputs`` where there are no such parts; their lengths (B,).
        """
        if lengths is None:
            lengths = torch.full((len(inputs),), inputs.size(1), dtype=torch.int64)
        lengths = lengths.to(inputs.device, torch.int64)
        longest: Any = lengths.max()
        features = inputs.narrow(1, 0, longest if torch.jit.is_tracing() else int(longest))
        for part in (self.frontend, self.normalize, self.preencoder):
            if part is not None:
                features, lengths = part(features, lengths)
        return features, lengths

    def finish(self, x: Tensor) -> Tensor:
        """The norm of encoders that normalise first; (B, T, D)."""
        return x if self.after_norm is None else self.after_norm(x)

    def describe(self) -> Dict[str, Any]:
        """See :meth:`Stack.describe`.

        Raises:
            ValueError: the stack was made without a configuration.
        """
        if self.configuration is None:
            raise ValueError("a stack of an encoder without its configuration cannot be saved")
        return {"builder": "espnet", "config": copy.deepcopy(self.configuration)}

    @classmethod
    def build(cls, description: Mapping[str, Any]) -> ConformerStack:
        """See :meth:`Stack.build`."""
        configuration = copy.deepcopy(dict(description["config"]))
        return cls(parts_of(configuration), configuration)


def _own(encoder: nn.Module) -> Any:
    """The same modules again, around the same parameters and buffers."""
    tensors = [*encoder.parameters(), *encoder.buffers()]
    return copy.deepcopy(encoder, {id(tensor): tensor for tensor in tensors})
