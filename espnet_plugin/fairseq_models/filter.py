"""A fairseq model of wav2vec 2.0 made into one whose blocks a plan edits, in place."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from espnet_plugin.encoders.activation import gelu
from espnet_plugin.fairseq_models.encoder import FilteredEncoder


class Gelu(nn.GELU):
    """``torch.nn.GELU`` with the right gradient on the CPU in torch 1.13."""

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        return gelu(x)


def filterable(model: Any) -> FilteredEncoder:
    """Put a :class:`FilteredEncoder` in the place of the model's encoder, unless it has one.

    Args:
        model: fairseq's ``Wav2Vec2Model``.

    Returns:
        The encoder.
    """
    if not isinstance(model.encoder, FilteredEncoder):
        model.encoder = FilteredEncoder(model.encoder, model.cfg)
        for parent in list(model.feature_extractor.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.GELU:
                    setattr(parent, name, Gelu())
    return model.encoder
