"""A Conformer block that takes or gives an attention map."""

from __future__ import annotations

from typing import Optional, Tuple

import torch
from espnet2.asr.encoder.conformer_encoder import EncoderLayer
from torch import Tensor

from espnet_plugin.encoders.attention import FollowerAttention, LeaderAttention


class ReuseEncoderLayer(EncoderLayer):
    """ESPnet's Conformer block with the attention map as an input and an output.

    Args:
        source: ESPnet's block, whose modules are taken over under the same names.
        follows: whether the block applies the map of the block before it.
        keep_maps: whether the next block applies this block's map.

    With stochastic depth, ``x`` passes a skipped block unchanged, whatever its place in the group;
    a skipped leader still computes the map that its followers need, from its own input.
    """

    def __init__(self, source: EncoderLayer, follows: bool, keep_maps: bool) -> None:
        torch.nn.Module.__init__(self)
        self.__dict__.update(source.__dict__)
        attention = FollowerAttention if follows else LeaderAttention
        self.self_attn = attention(source.self_attn)
        self.follows = follows
        self.keep_maps = keep_maps

    def forward(
        self,
        x: Tensor,
        pos_emb: Optional[Tensor],
        mask: Optional[Tensor],
        maps: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """One block.

        Args:
            x: (B, T, size).
            pos_emb: relative positions, or None.
            mask: (B, 1, T), true on real frames, or None where nothing is padded.
            maps: the leader's map (B, H, T, T), for a follower.

        Returns:
            The output (B, T, size), and the map for the next block, if it is a follower.
        """
        scale = 1.0
        if self.training and self.stochastic_depth_rate > 0:
            if torch.rand(1).item() < self.stochastic_depth_rate:
                return x, self._maps_of_skipped(x, pos_emb, mask, maps)
            scale = 1.0 / (1 - self.stochastic_depth_rate)

        x = self._macaron(x, scale)

        residual = x
        if self.normalize_before:
            x = self.norm_mha(x)
        attended, maps = self.self_attn(x, pos_emb, mask, maps)
        if self.concat_after:
            attended = self.concat_linear(torch.cat((x, attended), dim=-1))
        else:
            attended = self.dropout(attended)
        x = torch.add(residual, attended, alpha=scale)
        if not self.normalize_before:
            x = self.norm_mha(x)

        if self.conv_module is not None:
            residual = x
            if self.normalize_before:
                x = self.norm_conv(x)
            if getattr(self, "_conv_takes_mask", False):  # from 202611
                x = self.conv_module(x, mask_pad=mask)
            else:
                x = self.conv_module(x)
            x = torch.add(residual, self.dropout(x), alpha=scale)
            if not self.normalize_before:
                x = self.norm_conv(x)

        residual = x
        if self.normalize_before:
            x = self.norm_ff(x)
        x = torch.add(residual, self.dropout(self.feed_forward(x)), alpha=scale * self.ff_scale)
        if not self.normalize_before:
            x = self.norm_ff(x)

        if self.conv_module is not None:
            x = self.norm_final(x)
        return x, maps if self.keep_maps else None

    def _macaron(self, x: Tensor, scale: float) -> Tensor:
        if self.feed_forward_macaron is None:
            return x
        residual = x
        if self.normalize_before:
            x = self.norm_ff_macaron(x)
        x = self.dropout(self.feed_forward_macaron(x))
        x = torch.add(residual, x, alpha=scale * self.ff_scale)
        if not self.normalize_before:
            x = self.norm_ff_macaron(x)
        return x

    def _maps_of_skipped(
        self,
        x: Tensor,
        pos_emb: Optional[Tensor],
        mask: Optional[Tensor],
        maps: Optional[Tensor],
    ) -> Optional[Tensor]:
        if not self.keep_maps:
            return None
        if self.follows:
            return maps
        x = self._macaron(x, 1.0)
        if self.normalize_before:
            x = self.norm_mha(x)
        return self.self_attn(x, pos_emb, mask)[1]
