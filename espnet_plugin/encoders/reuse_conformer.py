"""``reuse_conformer``: a Conformer whose blocks share attention maps within groups."""

from __future__ import annotations

import inspect
from typing import Any, List, Optional, Tuple, Union

import torch
from espnet2.asr.ctc import CTC
from espnet2.asr.encoder.conformer_encoder import (
    ConformerEncoder,
    trim_by_ctc_posterior,
)
from torch import Tensor

from espnet_plugin.encoders.block import ReuseEncoderLayer
from espnet_plugin.encoders.embedding import embed_features
from espnet_plugin.encoders.faster import faster
from espnet_plugin.encoders.groups import ReuseGroups
from espnet_plugin.encoders.groups import reuse_groups as explicit_groups


class ReuseConformerEncoder(ConformerEncoder):
    """ESPnet's Conformer encoder in which groups of blocks share one attention map.

    The first block of a group, the leader, is ESPnet's. Each other block, a follower, computes
    W_o concat_h(A_h x W_V,h) with the leader's map A (Shim, Choi, Sung, ICLR 2022). With groups of
    one it is ESPnet's ConformerEncoder. State dicts have ESPnet's names; a plain Conformer's state
    dict loads, and the followers leave out what they do not have.

    Args:
        reuse_groups: the size of the groups; or the groups, as lists of block indices, leader
            first, contiguous and covering all the blocks; or the path of a block plan.
        and all of the installed ESPnet's ConformerEncoder.

    Raises:
        ValueError: ``reuse_groups`` does not fit the blocks.

    Attributes:
        groups: the groups as lists of block indices, leader first.
    """

    def __init__(
        self, *args: Any, reuse_groups: Union[int, List[List[int]], str] = 1, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.groups = explicit_groups(reuse_groups, len(self.encoders))
        for group in self.groups:
            for index in group:
                self.encoders[index] = ReuseEncoderLayer(
                    self.encoders[index], follows=index > group[0], keep_maps=index < group[-1]
                )
        faster(self)

    def forward(
        self,
        xs_pad: Tensor,
        ilens: Tensor,
        prev_states: Optional[Tensor] = None,
        ctc: Optional[CTC] = None,
        return_all_hs: bool = False,
        masks: Optional[Tensor] = None,
    ) -> Tuple[Any, Tensor, None]:
        """Encode.

        Args:
            xs_pad: features (B, L, input_size).
            ilens: their lengths (B,), in frames.
            prev_states: not used.
            ctc: for intermediate CTC with conditioning or trimming.
            return_all_hs: also return each block's output.
            masks: (B, L), true on padded frames, in place of ``ilens`` (ESPnet 202611 has it).

        Returns:
            The output (B, T, output_size), or a pair of it and the intermediate outputs; the output
            lengths (B,); None.

        Raises:
            TooShortUttError: the input is too short for the subsampling.
        """
        if masks is None:
            ilens = ilens.to(xs_pad.device)
            masks = torch.arange(xs_pad.size(1), device=xs_pad.device) >= ilens[:, None]
        x, pos_emb, masks = embed_features(self.embed, xs_pad, ~masks[:, None, :])
        mask = mask_or_none(masks)

        hidden: List[Any] = []
        maps: Optional[Tensor] = None
        for index, block in enumerate(self.encoders, start=1):
            x, maps = block(x, pos_emb, mask, maps)
            if index in self.interctc_layer_idx:
                out = self.after_norm(x) if self.normalize_before else x
                hidden.append((index, out))
                posterior = None if ctc is None else ctc.softmax(out)
                if self.interctc_use_conditioning:
                    x = x + self.conditioning_layer(posterior)
                if self.ctc_trim and posterior is not None:
                    x, masks, pos_emb = trim_by_ctc_posterior(x, posterior, masks, pos_emb)
                    mask = mask_or_none(masks)
                    maps = trim_maps(maps, masks)
            elif return_all_hs and not self.interctc_layer_idx:
                hidden.append(x)

        if self.normalize_before:
            x = self.after_norm(x)
        olens = masks.squeeze(1).sum(1)
        return (x, hidden) if hidden else x, olens, None


def mask_or_none(masks: Tensor) -> Optional[Tensor]:
    """``masks`` (B, 1, T), or None where it masks nothing.

    While tracing, the mask stays: the trace must serve padded batches too.
    """
    if torch.jit.is_tracing() or not bool(masks.all()):
        return masks
    return None


def trim_maps(maps: Optional[Tensor], masks: Tensor) -> Optional[Tensor]:
    """The map that the leader would have computed over the frames that are left.

    Args:
        maps: (B, H, T, T), or None.
        masks: (B, 1, T'), T' <= T, true on the frames that are left.

    Returns:
        (B, H, T', T'), rows sum to 1 (to 0 where a row attended to trimmed frames alone).
    """
    if maps is None:
        return None
    time = masks.size(-1)
    maps = maps[..., :time, :time] * masks.unsqueeze(1)
    total = maps.sum(dim=-1, keepdim=True)
    return maps / total.clamp(min=torch.finfo(maps.dtype).tiny)


def _with_reuse_groups(signature: inspect.Signature) -> inspect.Signature:
    option = inspect.Parameter(
        "reuse_groups", inspect.Parameter.KEYWORD_ONLY, default=1, annotation=ReuseGroups
    )
    return signature.replace(parameters=[*signature.parameters.values(), option])


# ESPnet lists an encoder's options by the signature of its constructor
ReuseConformerEncoder.__init__.__signature__ = _with_reuse_groups(  # type: ignore[attr-defined]
    inspect.signature(ConformerEncoder.__init__)
)
