"""Directories that real transformers writes load without it, and compute the same."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from speech_batches import LENGTHS, distance, padded_batch, spread

from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.load import load_stack

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

FAMILIES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
CASES = [(family, layout) for family in FAMILIES for layout in ("base", "large")]
SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "conv_dim": (16, 16, 16, 16),
    "conv_kernel": (10, 3, 3, 2),
    "conv_stride": (5, 2, 2, 2),
    "num_feat_extract_layers": 4,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 6,
}
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}


def create(family: str, layout: str, head: str = "Model") -> Any:
    """A tiny model of transformers with random parameters, in evaluation mode."""
    name = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**SIZES, **(LARGE if layout == "large" else {}))
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{name}{head}")(config).eval()
    spread(model)
    return model


def save_bin(model: Any, folder: Path) -> None:
    """pytorch_model.bin, which transformers 5 reads and no longer writes."""
    if "safe_serialization" in inspect.signature(model.save_pretrained).parameters:
        model.save_pretrained(folder, safe_serialization=False)
    else:
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert (folder / "pytorch_model.bin").exists()


def assert_equal(folder: Path, model: Any, family: str) -> None:
    """Hidden states before, between and after the blocks equal those of transformers."""
    stack = load_stack(folder)
    assert stack.family == family and not stack.training
    waveforms, lengths, padded = padded_batch()
    encoder = getattr(model, model.base_model_prefix, model)
    with torch.no_grad():
        result = encoder(waveforms, attention_mask=(~padded).long(), output_hidden_states=True)
        hidden, frames = stack(waveforms, lengths)
    assert frames.tolist() == model._get_feat_extract_output_lengths(lengths).tolist()
    theirs = [*result.hidden_states[:-1], result.last_hidden_state]
    assert distance(hidden, theirs, frames) < 1e-4


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_safetensors(tmp_path, case):
    model = create(*case)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    assert_equal(tmp_path, model, case[0])


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_bin(tmp_path, case):
    model = create(*case)
    save_bin(model, tmp_path)
    assert_equal(tmp_path, model, case[0])


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_head_and_shards(tmp_path, case):
    model = create(*case, head="ForCTC")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert_equal(tmp_path, model, case[0])


def test_shards_of_bin_files(tmp_path):
    model = create("wavlm", "base", head="ForCTC")
    model.config.save_pretrained(tmp_path)
    state = list(model.state_dict().items())
    where = {}
    for number, part in enumerate((state[:20], state[20:])):
        torch.save(dict(part), tmp_path / f"pytorch_model-{number}.bin")
        where.update({name: f"pytorch_model-{number}.bin" for name, _ in part})
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    assert_equal(tmp_path, model, "wavlm")
    (tmp_path / "pytorch_model-1.bin").unlink()
    with pytest.raises(StackError, match="pytorch_model-1.bin, which .* is not there"):
        load_stack(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../pytorch_model-0.bin"}}))
    with pytest.raises(StackError, match="outside of the directory"):
        load_stack(tmp_path)


def test_positions_under_their_old_names(tmp_path):
    model = create("hubert", "base")
    model.config.save_pretrained(tmp_path)
    state = {}
    for name, value in model.state_dict().items():
        name = name.replace("parametrizations.weight.original0", "weight_g")
        state["hubert." + name.replace("parametrizations.weight.original1", "weight_v")] = value
    assert "hubert.encoder.pos_conv_embed.conv.weight_g" in state
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert_equal(tmp_path, model, "hubert")


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_maps(tmp_path, family):
    model = create(family, "base")
    model.save_pretrained(tmp_path)
    stack = load_stack(tmp_path)
    waveforms = padded_batch()[0]
    maps = []
    with torch.no_grad(), attention_maps(stack, lambda block, a, lengths: maps.append(a)):
        stack(waveforms)
        theirs = model(waveforms, output_attentions=True).attentions
    for ours, other in zip(maps, theirs, strict=True):
        if family == "wavlm":  # transformers gives the mean over heads, once for each head
            ours, other = ours.mean(1), other[:, 0]
        assert (ours - other).abs().max() < 1e-4


def test_do_normalize_as_the_feature_extractor_does_it(tmp_path):
    model = create("wav2vec2", "large")
    model.save_pretrained(tmp_path)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    extractor.save_pretrained(tmp_path)
    stack = load_stack(tmp_path)
    waveforms, lengths, padded = padded_batch()
    waveforms = waveforms * 1e-2  # so quiet that the constant under the root matters
    single = [row[:n].numpy() for row, n in zip(waveforms, LENGTHS, strict=True)]
    inputs = extractor(single, sampling_rate=16000, padding=True, return_tensors="pt")
    with torch.no_grad():
        result = model(**inputs, output_hidden_states=True)
        hidden, frames = stack(waveforms, lengths)
    theirs = [*result.hidden_states[:-1], result.last_hidden_state]
    assert distance(hidden, theirs, frames) < 1e-4
    text = (tmp_path / "preprocessor_config.json").read_text()
    (tmp_path / "preprocessor_config.json").write_text(text.replace("true", "false"))
    assert stack.config.normalize_waveform
    assert not load_stack(tmp_path).config.normalize_waveform


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model_type", "bert", "its model_type is 'bert'"),
        ("hidden_act", "relu", "only 'gelu' can be loaded"),
        ("adapter_attn_dim", 16, "adapters"),
        ("num_hidden_layers", 2, "3 blocks, and its configuration 2"),
        ("conv_stride", [5, "2", 2, 2], "no convolutions"),
        ("feat_extract_norm", "batch", "feature_norm must be group or layer"),
        ("intermediate_size", 48, r"is \[40\], and by its configuration \[48\]"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(tmp_path, key, value, said):
    create("wav2vec2", "base").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(StackError, match=said) as caught:
        load_stack(tmp_path)
    assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)


def test_damaged_directories(tmp_path):
    create("wav2vec2", "base").save_pretrained(tmp_path)
    whole = tmp_path / "model.safetensors"
    content = whole.read_bytes()
    with pytest.raises(StackError, match="name its directory"):
        load_stack(whole)
    for damage in (content[:-100], content[:50], b"", b"\xff" * 100):
        whole.write_bytes(damage)
        with pytest.raises(StackError, match="model.safetensors is damaged"):
            load_stack(tmp_path)
    whole.unlink()
    with pytest.raises(StackError, match="neither model.safetensors nor pytorch_model.bin"):
        load_stack(tmp_path)
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(StackError, match="config.json is damaged"):
        load_stack(tmp_path)


def test_a_bin_file_alone_needs_its_directory(tmp_path):
    model = create("wav2vec2", "base")
    save_bin(model, tmp_path)
    shutil.copy(tmp_path / "pytorch_model.bin", tmp_path / "renamed.pt")
    with pytest.raises(StackError, match="renamed.pt: it has no configuration; name its directory"):
        load_stack(tmp_path / "renamed.pt")
