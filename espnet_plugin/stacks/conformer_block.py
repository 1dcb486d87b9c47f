"""A block of ESPnet's Conformer or Transformer that takes and gives a state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from espnet2.asr.encoder.conformer_encoder import EncoderLayer as ConformerLayer
from espnet2.asr.encoder.transformer_encoder import EncoderLayer as TransformerLayer
from torch import nn

from espnet_plugin.encoders.block import ReuseEncoderLayer
from espnet_plugin.encoders.onednn import adopt
from espnet_plugin.stacks.state import State


class ConformerBlock(nn.Module):
    """One block.

    Args:
        layer: of ESPnet's ConformerEncoder or TransformerEncoder, or of our reuse_conformer; its
            sub-modules become this block's.

    Attributes:
        attention: the layer's self-attention, a ``ReuseAttention``; it may be exchanged.

    Raises:
        TypeError: another kind of layer, or one with a self-attention that is not known.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        if isinstance(layer, TransformerLayer):
            layer = _as_conformer(layer)
        if not isinstance(layer, ConformerLayer):
            raise TypeError(f"a stack cannot be made of {type(layer).__name__}")
        if not isinstance(layer, ReuseEncoderLayer):
            layer = ReuseEncoderLayer(layer, follows=False, keep_maps=False)
        self.layer = layer

    @property
    def attention(self) -> Any:
        """The self-attention."""
        return self.layer.self_attn

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "attention":
            self.layer.self_attn = value
            self.layer.follows = value.follows
        else:
            super().__setattr__(name, value)

    def forward(self, state: State) -> State:
        """One block."""
        mask = None if state.mask is None else state.mask.unsqueeze(1)
        self.layer.keep_maps = state.keep_maps
        self.attention.window = state.window
        look = state.look
        self.attention.map_hook = None if look is None else lambda maps, mask: look(maps)
        change = state.edit
        self.attention.map_edit = None if change is None else lambda maps, mask: change(maps)
        try:
            x, maps = self.layer(state.x, state.positions, mask, state.maps)
        finally:
            self.attention.map_hook = self.attention.map_edit = None
        return replace(state, x=x, maps=maps)


def _as_conformer(layer: TransformerLayer) -> ConformerLayer:
    """A Conformer's layer without convolution and macaron network, which is a Transformer's."""
    if getattr(layer, "apply_ff_mask", False):
        raise TypeError("a stack cannot be made of layers with apply_ff_mask")
    conformer = adopt(ConformerLayer, layer)
    modules = conformer._modules
    modules["norm_mha"], modules["norm_ff"] = modules.pop("norm1"), modules.pop("norm2")
    conformer.feed_forward_macaron = conformer.conv_module = None
    conformer.ff_scale = 1.0
    return conformer
