"""What a wav2vec 2.0, HuBERT or WavLM stack is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Dict, Mapping, Tuple

FAMILIES = ("wav2vec2", "hubert", "wavlm")

ConvLayers = Tuple[Tuple[int, int, int], ...]

CONV_LAYERS: ConvLayers = ((512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2)
"""Channels, kernel and stride of the feature extractor of every published model."""


@dataclass(frozen=True)
class Wav2Vec2Config:
    """Sizes and options of a stack; the defaults are those of the base models.

    Baevski et al. 2020 (arXiv 2006.11477), Hsu et al. 2021 (arXiv 2106.07447), Chen et al. 2022
    (arXiv 2110.13900), and the code of fairseq, whose names the comments give.

    Raises:
        ValueError: one line that names the field that makes no sense.
    """

    family: str = "wav2vec2"
    """One of :data:`FAMILIES`."""
    conv_layers: ConvLayers = CONV_LAYERS
    """(channels, kernel, stride) of each convolution (conv_feature_layers)."""
    conv_bias: bool = False
    """Whether the convolutions have biases (conv_bias)."""
    feature_norm: str = "group"
    """"group": after the first convolution, one group per channel; "layer": after each one, over
    the channels (extractor_mode default and layer_norm)."""
    projection: bool = True
    """Whether the features are mapped to ``width`` (post_extract_proj; fairseq has none where
    they have that width already)."""
    width: int = 768
    """Of the hidden states (encoder_embed_dim)."""
    blocks: int = 12
    """(encoder_layers)."""
    heads: int = 12
    """Of each block (encoder_attention_heads)."""
    feed_forward: int = 3072
    """Width inside the feed-forward network (encoder_ffn_embed_dim)."""
    norm_first: bool = False
    """Whether a block normalises what goes into its parts, as the large models do, and not their
    sums (layer_norm_first)."""
    pos_kernel: int = 128
    """Of the positional convolution, in frames (conv_pos)."""
    pos_groups: int = 16
    """(conv_pos_groups)."""
    normalize_waveform: bool = False
    """Whether each utterance is brought to mean 0 and variance 1 (normalize)."""
    normalize_epsilon: float = 1e-5
    """Added to that variance: 1e-5 in fairseq, 1e-7 in Hugging Face's feature extractor."""
    padding: str = "convolution"
    """Which frames of a padded utterance are real. "convolution": those that the convolutions make
    from real samples alone; "cells": the samples of the batch are cut into as many equal cells as
    there are frames, and a frame is real whose cell has a real sample (fairseq's HuBERT and
    Microsoft's WavLM: forward_padding_mask)."""
    input_dropout: float = 0.1
    """After the projection (dropout_input)."""
    dropout: float = 0.1
    """After the positions and after each part of a block (dropout)."""
    attention_dropout: float = 0.1
    """Of attention maps (attention_dropout)."""
    activation_dropout: float = 0.0
    """Inside the feed-forward network (activation_dropout)."""
    layer_drop: float = 0.05
    """Probability that training skips a block (encoder_layerdrop)."""
    num_buckets: int = 0
    """WavLM: how many distances have a bias of their own, both directions together."""
    max_distance: int = 0
    """WavLM: frames from which on distances share a bias."""

    def __post_init__(self) -> None:
        layers = tuple(tuple(layer) for layer in self.conv_layers)
        object.__setattr__(self, "conv_layers", layers)
        if self.family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {self.family!r}")
        if not layers or not all(len(layer) == 3 and min(layer) > 0 for layer in layers):
            raise ValueError(f"conv_layers must be (channels, kernel, stride) each, not {layers}")
        if self.feature_norm not in ("group", "layer"):
            raise ValueError(f"feature_norm must be group or layer, not {self.feature_norm!r}")
        if self.padding not in ("convolution", "cells"):
            raise ValueError(f"padding must be convolution or cells, not {self.padding!r}")
        for name in ("width", "blocks", "heads", "feed_forward", "pos_kernel", "pos_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("heads", "pos_groups"):
            if self.width % getattr(self, name):
                raise ValueError(f"width {self.width} is no multiple of {name}")
        if not self.projection and layers[-1][0] != self.width:
            raise ValueError(f"without projection the features must have {self.width} channels")
        if self.family == "wavlm" and (self.num_buckets < 4 or self.num_buckets % 2):
            raise ValueError(f"num_buckets must be even and at least 4, not {self.num_buckets}")
        if self.family == "wavlm" and self.max_distance <= self.num_buckets // 4:
            raise ValueError(
                f"max_distance must be more than num_buckets / 4, not {self.max_distance}"
            )

    @classmethod
    def base(cls, family: str = "wav2vec2", **changes: Any) -> Wav2Vec2Config:
        """The base layout of ``family``: 12 blocks of width 768."""
        return cls(**{"family": family, **_relative(family), **changes})

    @classmethod
    def large(cls, family: str = "wav2vec2", **changes: Any) -> Wav2Vec2Config:
        """The large layout: 24 blocks of width 1024, normalised first, and of the waveform."""
        layout: Dict[str, Any] = {
            "conv_bias": family == "wav2vec2",
            "feature_norm": "layer",
            "width": 1024,
            "blocks": 24,
            "heads": 16,
            "feed_forward": 4096,
            "norm_first": True,
            "normalize_waveform": True,
        }
        return cls(**{"family": family, **_relative(family), **layout, **changes})

    def to_dict(self) -> Dict[str, Any]:
        """Plain values alone."""
        return {**asdict(self), "conv_layers": [list(layer) for layer in self.conv_layers]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Wav2Vec2Config:
        """The reverse of :meth:`to_dict`.

        Raises:
            ValueError: a field that is not known, or a value that makes no sense.
        """
        known = {f.name for f in fields(cls)}
        unknown = [name for name in values if name not in known]
        if unknown:
            raise ValueError(f"a wav2vec 2.0 stack has no field {unknown[0]!r}")
        return cls(**values)


def _relative(family: str) -> Dict[str, int]:
    return {"num_buckets": 320, "max_distance": 800} if family == "wavlm" else {}
