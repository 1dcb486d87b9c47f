"""The layout of the tests' stack."""

from __future__ import annotations

LAYOUT = dict(
    conv_layers=[[16, 80, 40], [16, 8, 8]],
    feature_norm="layer",
    conv_bias=True,
    width=16,
    blocks=4,
    heads=2,
    feed_forward=32,
    norm_first=True,
    pos_kernel=4,
    pos_groups=2,
    normalize_waveform=True,
    dropout=0.0,
    input_dropout=0.0,
    attention_dropout=0.0,
    layer_drop=0.0,
)
