"""Layouts: plain values and back, and what is refused."""

from __future__ import annotations

import pytest

from espnet_plugin.stacks.cost import count_parameters
from espnet_plugin.stacks.wav2vec2.config import FAMILIES, Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack


@pytest.mark.parametrize("layout", ["base", "large"])
@pytest.mark.parametrize("family", FAMILIES)
def test_plain_values_and_back(family, layout):
    config = getattr(Wav2Vec2Config, layout)(family, dropout=0.25)
    values = config.to_dict()
    assert all(type(v) in (bool, int, float, str, list) for v in values.values())
    assert Wav2Vec2Config.from_dict(values) == config and config.dropout == 0.25


@pytest.mark.parametrize(
    "family, layout, parameters",
    [
        ("wav2vec2", "base", 94370944),
        ("wav2vec2", "large", 315437696),
        ("hubert", "base", 94370944),
        ("hubert", "large", 315434112),
        ("wavlm", "base", 94381168),
        ("wavlm", "large", 315452096),
    ],
)
def test_parameters_of_the_published_layouts(family, layout, parameters):
    """As many as torchaudio 2.11's wav2vec2_base, …, wavlm_large and the mask embedding."""
    stack = Wav2Vec2Stack(getattr(Wav2Vec2Config, layout)(family), "meta")
    assert sum(count_parameters(stack).values()) == parameters + stack.width


@pytest.mark.parametrize(
    "change, said",
    [
        ({"family": "bert"}, "family must be one of wav2vec2, hubert, wavlm, not 'bert'"),
        ({"heads": 5}, "width 768 is no multiple of heads"),
        ({"pos_groups": 5}, "width 768 is no multiple of pos_groups"),
        ({"blocks": 0}, "blocks must be at least 1, not 0"),
        ({"feature_norm": "batch"}, "feature_norm must be group or layer"),
        ({"padding": "none"}, "padding must be convolution or cells"),
        ({"conv_layers": ()}, r"conv_layers must be \(channels, kernel, stride\) each"),
        ({"conv_layers": ((1, 2),)}, r"conv_layers must be \(channels, kernel, stride\) each"),
        ({"projection": False}, "without projection the features must have 768 channels"),
        ({"family": "wavlm"}, "num_buckets must be even and at least 4, not 0"),
        (
            {"family": "wavlm", "num_buckets": 8, "max_distance": 2},
            "max_distance must be more than num_buckets / 4, not 2",
        ),
        ({"layers": 3}, "a wav2vec 2.0 stack has no field 'layers'"),
    ],
)
def test_what_makes_no_sense(change, said):
    with pytest.raises(ValueError, match=said):
        Wav2Vec2Config.from_dict(change)
