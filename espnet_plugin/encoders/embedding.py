"""What ESPnet's encoders do before their blocks."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import espnet2.asr.encoder.transformer_encoder as transformer
from torch import Tensor

from espnet_plugin.compat import TooShortUttError

FACTORS = {
    "Conv1dSubsampling2": 2,
    "Conv2dSubsampling": 4,
    "Conv2dSubsampling1": 1,
    "Conv2dSubsampling2": 2,
    "Conv2dSubsampling6": 6,
    "Conv2dSubsampling8": 8,
}
"""Frames that go in for one that comes out; not every ESPnet has all of these."""

SUBSAMPLINGS: Dict[Any, int] = {
    getattr(transformer, name): factor
    for name, factor in FACTORS.items()
    if hasattr(transformer, name)
}


def embed_features(
    embed: Any, features: Tensor, masks: Tensor
) -> Tuple[Tensor, Optional[Tensor], Tensor]:
    """Subsample, project and add positions.

    Args:
        embed: ``embed`` of ESPnet's ConformerEncoder or TransformerEncoder.
        features: (B, L, input_size).
        masks: (B, 1, L), true on real frames.

    Returns:
        (B, T, output_size); the embedding of relative positions, or None; the masks (B, 1, T).

    Raises:
        TooShortUttError: too short for the subsampling.
    """
    embedded = features
    subsamples = isinstance(embed, tuple(SUBSAMPLINGS))
    if subsamples:
        too_short, limit = transformer.check_short_utt(embed, features.size(1))
        if too_short:
            raise TooShortUttError(
                f"has {features.size(1)} frames and is too short for subsampling "
                f"(it needs more than {limit} frames), return empty results",
                features.size(1),
                limit,
            )
        embedded, masks = embed(features, masks)
    elif embed is not None:
        embedded = embed(features)
    if isinstance(embedded, tuple):
        return embedded[0], embedded[1], masks
    return embedded, None, masks
