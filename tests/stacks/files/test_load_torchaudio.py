"""torchaudio's models load from state dictionaries and modules, and compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest
import torch
import torchaudio
from speech_batches import distance, padded_batch, spread

from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.wav2vec2.config import CONV_LAYERS

SIZES: Dict[str, Any] = {
    "extractor_conv_layer_config": [(16, 10, 5), (16, 3, 2), (16, 3, 2), (16, 2, 2)],
    "encoder_embed_dim": 24,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 40,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.2,
    "encoder_layer_drop": 0.3,
}
LAYOUTS: Dict[str, Dict[str, Any]] = {
    "base": {
        "extractor_mode": "group_norm",
        "extractor_conv_bias": False,
        "encoder_layer_norm_first": False,
    },
    "large": {
        "extractor_mode": "layer_norm",
        "extractor_conv_bias": True,
        "encoder_layer_norm_first": True,
    },
}
WAVLM = {"encoder_num_buckets": 32, "encoder_max_distance": 90}
FAMILIES = ["wav2vec2", "wavlm"] if hasattr(torchaudio.models, "wavlm_model") else ["wav2vec2"]
CASES = [(family, layout) for family in FAMILIES for layout in LAYOUTS]


def arguments(family: str, layout: str) -> Dict[str, Any]:
    """Of torchaudio's function for a tiny model."""
    return {**SIZES, **LAYOUTS[layout], **(WAVLM if family == "wavlm" else {})}


def create(family: str, layout: str, aux: Any = 7) -> Any:
    """A tiny model of torchaudio in evaluation mode."""
    make = getattr(torchaudio.models, f"{family}_model")
    model = make(**arguments(family, layout), aux_num_out=aux).eval()
    spread(model)
    return model


def assert_equal(path: Path, model: Any, family: str) -> Any:
    """Hidden states after the blocks equal torchaudio's, and the stack is returned."""
    stack = load_stack(path)
    assert stack.family == family and not stack.training
    waveforms, lengths, _ = padded_batch()
    if family == "wavlm":  # torchaudio's does not take lengths
        lengths = torch.full_like(lengths, waveforms.size(1))
    with torch.no_grad():
        features, frames = model.feature_extractor(waveforms, lengths)
        known = None if family == "wavlm" else frames
        theirs = model.encoder.extract_features(features, known)
        last = model.encoder(features, known)
        hidden, found = stack(waveforms, lengths)
    assert found.tolist() == frames.tolist()
    assert distance(hidden[1:], [*theirs[:-1], last], frames) < 1e-4
    return stack


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_state_dictionary_with_its_configuration(tmp_path, case):
    model = create(*case)
    config = {"aux_num_out": 7, **arguments(*case)}
    path = tmp_path / "model.pt"
    torch.save({"state_dict": model.state_dict(), "config": config}, path)
    config = assert_equal(path, model, case[0]).config
    assert (config.dropout, config.layer_drop) == (0.2, 0.3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_state_dictionary_of_a_published_layout(tmp_path, layout, monkeypatch):
    """Width 768 has 12 heads, and the kernels of all published models their strides."""
    published = [(8, kernel, stride) for _, kernel, stride in CONV_LAYERS]
    changes = {"encoder_embed_dim": 768, "encoder_num_heads": 12, "encoder_num_layers": 2}
    changes.update(extractor_conv_layer_config=published, encoder_pos_conv_groups=16)
    for name, value in changes.items():
        monkeypatch.setitem(SIZES, name, value)
    model = create("wav2vec2", layout)
    path = tmp_path / "model.pt"
    torch.save(model.state_dict(), path)
    assert not assert_equal(path, model, "wav2vec2").config.normalize_waveform


def test_a_bundle_that_normalises(tmp_path, monkeypatch):
    """Large bundles wrap the model; their tensors' names begin with ``model.``."""
    model = create("wav2vec2", "large")
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    config = arguments("wav2vec2", "large")
    torch.save({"state_dict": state, "config": config}, tmp_path / "model.pt")
    stack = load_stack(tmp_path / "model.pt")
    waveforms = padded_batch()[0][:1]
    with torch.no_grad():
        source = torch.nn.functional.layer_norm(waveforms, waveforms.shape)
        theirs = model.extract_features(source)[0]
        hidden, frames = stack(waveforms)
    assert distance(hidden[1:-1], theirs[:-1], frames) < 1e-4


def test_hubert_in_its_training_form(tmp_path):
    model = torchaudio.models.hubert_pretrain_model(
        **arguments("wav2vec2", "base"),
        mask_prob=0.8,
        mask_selection="static",
        mask_other=0.0,
        mask_length=10,
        no_mask_overlap=False,
        mask_min_space=1,
        mask_channel_prob=0.0,
        mask_channel_selection="static",
        mask_channel_other=0.0,
        mask_channel_length=10,
        no_mask_channel_overlap=False,
        mask_channel_min_space=1,
        skip_masked=False,
        skip_nomask=False,
        num_classes=5,
        final_dim=6,
        feature_grad_mult=0.1,
    ).eval()
    spread(model)
    config = arguments("wav2vec2", "base")
    torch.save({"state_dict": model.state_dict(), "config": config}, tmp_path / "model.pt")
    stack = assert_equal(tmp_path / "model.pt", model.wav2vec2, "hubert")
    mask = model.mask_generator.mask_embedding
    assert torch.equal(stack.frontend.mask_embedding, mask) and mask.abs().sum() > 0


@pytest.mark.skipif(
    hasattr(create("wav2vec2", "base").encoder.transformer.pos_conv_embed.conv, "parametrizations"),
    reason="torch does not pickle modules with parametrizations",
)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_a_whole_module(tmp_path, layout, old):
    model = create("wav2vec2", layout)
    path = tmp_path / "model.pt"
    torch.save(model, path, _use_new_zipfile_serialization=not old)
    config = assert_equal(path, model, "wav2vec2").config
    assert (config.dropout, config.layer_drop) == (0.2, 0.3)


def test_a_layout_that_is_not_described_is_one_line(tmp_path):
    model, path = create("wav2vec2", "base"), tmp_path / "model.pt"
    torch.save(model.state_dict(), path)
    with pytest.raises(StackError, match="how many heads its width of 24 has; save"):
        load_stack(path)
    config = {"encoder_num_heads": 4}
    torch.save({"state_dict": model.state_dict(), "config": config}, path)
    with pytest.raises(StackError, match="strides of its convolutions; save"):
        load_stack(path)
    torch.save(torch.nn.Linear(2, 3), path)
    with pytest.raises(StackError, match="no encoder"):
        load_stack(path)


@pytest.mark.skipif("wavlm" not in FAMILIES, reason="this torchaudio has no WavLM")
def test_wavlm_does_not_guess_how_far_its_biases_reach(tmp_path):
    config = arguments("wavlm", "base")
    del config["encoder_max_distance"]
    state = create("wavlm", "base").state_dict()
    torch.save({"state_dict": state, "config": config}, tmp_path / "model.pt")
    with pytest.raises(StackError, match="how far its 32 biases reach"):
        load_stack(tmp_path / "model.pt")
