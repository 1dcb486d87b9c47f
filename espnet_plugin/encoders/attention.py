"""Self-attention of a reuse group: the leader computes the map, the followers apply it.

Shim, Choi, Sung, "Understanding the role of self-attention for automatic speech recognition"
(ICLR 2022), section on attention-map reuse; that followers keep only W_V and W_o is an inference.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Optional, Sequence, Tuple

import torch
from espnet2.asr.encoder.conformer_encoder import (
    LegacyRelPositionMultiHeadedAttention,
    MultiHeadedAttention,
    RelPositionMultiHeadedAttention,
)
from torch import Tensor

from espnet_plugin.encoders import onednn
from espnet_plugin.encoders.chunked_attention import chunked_maps, chunked_mix
from espnet_plugin.encoders.local_attention import LocalMaps, local_maps
from espnet_plugin.encoders.maps import Maps, dense, dropped
from espnet_plugin.encoders.position_band import position_band
from espnet_plugin.stacks.parameters import columns, keep_inputs, keep_outputs, kept, select

MapHook = Callable[[Tensor, Optional[Tensor]], None]
MapEdit = Callable[[Tensor, Optional[Tensor]], Tensor]


class ReuseAttention(MultiHeadedAttention):
    """What leaders and followers have in common: W_V, W_o, and a look at the map.

    It is one of ESPnet's ``MultiHeadedAttention``, so that ESPnet's attention plots find it. They
    register a forward hook on the module; only then is the last map kept, in ``attn``.

    Attributes:
        follows: whether it takes the map of the block before it.
        window: frames that it attends to on both sides; None: all.
        map_hook: when set, called in every forward with the map after the softmax, before dropout
            (a follower's: as its leader hands it on), of shape (B, H, T, T), and the mask
            (B, 1, T), true on real frames, or None where nothing is padded.
        map_edit: when set, called likewise in every forward of a leader, before ``map_hook``; the
            map that it returns takes the place of the leader's.
    """

    PARTS: Tuple[str, ...] = ("linear_v", "linear_out")
    follows = False

    def __init__(self, source: MultiHeadedAttention) -> None:
        torch.nn.Module.__init__(self)
        self.h: int = source.h
        self.d_k: int = source.d_k
        for name in self.PARTS:
            if hasattr(source, name):
                setattr(self, name, getattr(source, name))
        self.dropout = torch.nn.Dropout(source.dropout_rate)
        self.dropout_rate = source.dropout_rate
        self.window: Optional[int] = None
        self.map_hook: Optional[MapHook] = None
        self.map_edit: Optional[MapEdit] = None
        self.attn: Optional[Tensor] = None

    @property
    def heads(self) -> int:
        """Those that are left."""
        return self.h

    @property
    def head_size(self) -> int:
        """d_k, of each head."""
        return self.d_k

    @property
    def width(self) -> int:
        """Of what comes in and goes out."""
        return self.linear_out.out_features

    @property
    def empty(self) -> bool:
        """Whether no head is left for a trace: ONNX has no use for tensors without elements."""
        return not self.h and torch.jit.is_tracing()

    def prune(self, heads: Sequence[int]) -> Any:
        """The same attention without ``heads``: smaller parameters, of its own.

        What is left equals this attention with the maps of ``heads`` multiplied by zero.

        Raises:
            ValueError: a head that is not there.
        """
        attention: Any = onednn.adopt(type(self), self)
        left = kept(self.h, heads)
        index = columns(left, self.d_k)
        attention.h = len(left)
        attention.linear_out = keep_inputs(self.linear_out, index)
        for name in ("linear_q", "linear_k", "linear_v", "linear_pos"):
            if hasattr(self, name):
                setattr(attention, name, keep_outputs(getattr(self, name), index))
        for name in ("pos_bias_u", "pos_bias_v"):
            if hasattr(self, name):
                setattr(attention, name, select(getattr(self, name), left, 0))
        return attention

    def follower(self) -> FollowerAttention:
        """An attention with this one's values and output that takes another block's map."""
        return FollowerAttention(self)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, H * d_k) seen as (B, H, T, d_k)."""
        return x.view(x.size(0), x.size(1), self.h, self.d_k).transpose(1, 2)

    def apply_map(self, maps: Maps, value: Tensor) -> Tensor:
        """W_o concat_h(A_h V_h).

        Args:
            maps: (B, H, T, T), whole or banded.
            value: (B, T, H * d_k).

        Returns:
            (B, T, size).
        """
        if isinstance(maps, LocalMaps):
            return self.linear_out(maps.mix(self.split(value)).transpose(1, 2).flatten(2))
        if onednn.usable(value) and self.h and maps.dtype == value.dtype:
            return self.linear_out(chunked_mix(maps, value))
        mixed = torch.matmul(maps, self.split(value)).transpose(1, 2)
        return self.linear_out(mixed.reshape(value.shape))

    def show(self, maps: Maps, mask: Optional[Tensor]) -> None:
        """Hand the map to whoever asked for it."""
        if self.map_hook is not None:
            self.map_hook(dense(maps), mask)
        self.attn = dense(maps) if self._forward_hooks else None


class LeaderAttention(ReuseAttention):
    """ESPnet's self-attention, whose map the followers of the group share.

    Args:
        source: ESPnet's attention module, whose parameters are taken over under the same names.

    Raises:
        TypeError: ESPnet has a self-attention here that is not known.
    """

    PARTS = (
        "pos_bias_u",
        "pos_bias_v",
        "linear_q",
        "linear_k",
        "linear_v",
        "linear_out",
        "q_norm",
        "k_norm",
        "linear_pos",
    )

    def __init__(self, source: MultiHeadedAttention) -> None:
        super().__init__(source)
        if type(source) not in POSITIONS:
            raise TypeError(f"reuse_conformer does not know the attention {type(source).__name__}")
        self.positions = POSITIONS[type(source)]
        self.zero_triu: bool = getattr(source, "zero_triu", False)

    def maps(self, x: Tensor, pos_emb: Optional[Tensor], mask: Optional[Tensor]) -> Maps:
        """The attention map, softmax((Q K^T + relative position) / sqrt(d_k)).

        Args:
            x: (B, T, size).
            pos_emb: (1, 2T-1, size), legacy (1, T, size), or None for absolute positions.
            mask: (B, 1, T), true on real frames, or None where nothing is padded.

        Returns:
            (B, H, T, T), rows sum to 1, zero where a key is padded. Only the band of it where the
            window hides any frame.
        """
        hides = torch.jit.is_tracing() or self.window is not None and self.window < x.size(1) - 1
        if self.window is not None and hides and self.h:
            return self.local_maps(x, pos_emb, mask, self.window)
        if onednn.usable(x) and self.h and not self.zero_triu:
            return chunked_maps(self, x, pos_emb, mask)
        scores = self.scores(x, pos_emb)
        if mask is not None:
            # softmax makes exact zeros of them, as every row has a real key
            lowest = torch.finfo(scores.dtype).min
            scores = scores.masked_fill(mask.unsqueeze(1).eq(0), lowest)
        return torch.softmax(scores, dim=-1)

    def scores(self, x: Tensor, pos_emb: Optional[Tensor]) -> Tensor:
        """Logits of the map, (B, H, T, T), scaled, not masked."""
        scale = 1.0 / math.sqrt(self.d_k)
        query = self.q_norm(self.split(self.linear_q(x)))
        key = self.k_norm(self.split(self.linear_k(x))).transpose(-2, -1)
        if self.positions == "absolute":
            return torch.matmul(query * scale, key)
        assert pos_emb is not None
        relative = self.split(self.linear_pos(pos_emb))
        by_place = (query + self.pos_bias_v.unsqueeze(1)) * scale
        if self.positions == "legacy":
            relative = torch.nn.functional.pad(relative, (0, 0, 1, 0))
            place = legacy_shift(torch.matmul(by_place, relative.transpose(-2, -1)))
        else:
            place = relative_shift(torch.matmul(by_place, relative.transpose(-2, -1)))
        if self.zero_triu:
            place = place.tril()
        by_content = (query + self.pos_bias_u.unsqueeze(1)) * scale
        return torch.matmul(by_content, key) + place

    def local_maps(
        self, x: Tensor, pos_emb: Optional[Tensor], mask: Optional[Tensor], window: int
    ) -> LocalMaps:
        """The map over the ``window`` frames on both sides; arguments as in :meth:`maps`."""
        scale = 1.0 / math.sqrt(self.d_k)
        query = self.q_norm(self.split(self.linear_q(x))) * scale
        key = self.k_norm(self.split(self.linear_k(x)))
        lengths = None if mask is None else mask.sum(dim=(1, 2))
        if pos_emb is None:
            return local_maps(query, key, window, None, lengths)
        by_place = query + self.pos_bias_v.unsqueeze(1) * scale
        band = position_band(by_place, pos_emb, self.relative, window, self.positions)
        if self.zero_triu:
            band = torch.nn.functional.pad(band[..., : window + 1], (0, window))
        return local_maps(query + self.pos_bias_u.unsqueeze(1) * scale, key, window, band, lengths)

    def relative(self, pos_emb: Tensor) -> Tensor:
        """(1, n, size) to the (1, H, n, d_k) that queries are compared with."""
        return self.split(self.linear_pos(pos_emb))

    def forward(
        self,
        x: Tensor,
        pos_emb: Optional[Tensor],
        mask: Optional[Tensor],
        maps: Optional[Maps] = None,
    ) -> Tuple[Tensor, Optional[Maps]]:
        """Attend, and hand the map on.

        Args:
            x, pos_emb, mask: as in :meth:`maps`.
            maps: not used; the previous group's.

        Returns:
            The output (B, T, size), and the map after dropout, for the followers (None where no
            head is left for a trace).
        """
        if self.empty:
            return self.linear_out.bias.expand_as(x), None
        maps = self.maps(x, pos_emb, mask)
        if self.map_edit is not None:
            maps = self.map_edit(dense(maps), mask)
        self.show(maps, mask)
        value = self.linear_v(x)
        maps = dropped(maps, self.dropout.p if self.training else 0.0).to(value.dtype)
        return self.apply_map(maps, value), maps


class FollowerAttention(ReuseAttention):
    """Applies the leader's map to its own values; has W_V and W_o, and no W_Q, W_K, W_pos, u, v.

    The map comes with the leader's dropout already applied, so that a group draws one dropout mask
    and keeps one map for the backward pass.

    A state dict of a plain Conformer loads: what a follower does not have is left out.
    """

    follows = True
    DROPPED = ("linear_q", "linear_k", "linear_pos", "pos_bias_u", "pos_bias_v", "q_norm", "k_norm")

    def forward(
        self,
        x: Tensor,
        pos_emb: Optional[Tensor],
        mask: Optional[Tensor],
        maps: Maps,
    ) -> Tuple[Tensor, Maps]:
        """Apply the leader's map.

        Args:
            x: (B, T, size).
            pos_emb: not used.
            mask: only handed to ``map_hook``.
            maps: the leader's, (B, H, T, T).

        Returns:
            The output (B, T, size), and the same map.
        """
        if self.empty:
            return self.linear_out.bias.expand_as(x), maps
        self.show(maps, mask)
        return self.apply_map(maps, self.linear_v(x)), maps

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for key in [key for key in state_dict if key.startswith(prefix)]:
            if key[len(prefix) :].split(".")[0] in self.DROPPED:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args)


POSITIONS = {
    MultiHeadedAttention: "absolute",
    LegacyRelPositionMultiHeadedAttention: "legacy",
    RelPositionMultiHeadedAttention: "relative",
}


def relative_shift(x: Tensor) -> Tensor:
    """Column T-1-i+j of row i becomes column j, without a copy.

    Args:
        x: (..., T, 2T-1), contiguous; column c is the distance T-1-c.

    Returns:
        (..., T, T), a view.
    """
    time = x.size(-2)
    if torch.jit.is_tracing():  # for T = 1 too, at the price of a copy
        rows = (
            torch.nn.functional.pad(x, (1, 0)).flatten(-2).narrow(-1, time, time * (2 * time - 1))
        )
        return rows.view(*x.shape[:-1], 2 * time - 1).narrow(-1, 0, time)
    if time == 1:
        return x
    flat = x.flatten(-2).narrow(-1, time - 1, time * (2 * time - 2))
    return flat.unflatten(-1, (time, 2 * time - 2)).narrow(-1, 0, time)


def legacy_shift(x: Tensor) -> Tensor:
    """ESPnet's shift up to pull request 2816, whose upper triangle wraps to the next row.

    Args:
        x: (..., T, T+1), contiguous; its first column is zero.

    Returns:
        (..., T, T), a view.
    """
    time = x.size(-2)
    return x.flatten(-2).narrow(-1, time, time * time).view(*x.shape[:-1], time)
