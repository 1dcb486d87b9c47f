"""Directories of Hugging Face's transformers: wav2vec 2.0, HuBERT and WavLM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

from espnet_plugin.stacks.files.fairseq import plain_tensors
from espnet_plugin.stacks.files.names import Table, Tensors, below, flat
from espnet_plugin.stacks.files.safe_tensors import read_safetensors
from espnet_plugin.stacks.files.settings import Settings, check_convolutions
from espnet_plugin.stacks.files.stored import FileError
from espnet_plugin.stacks.files.torch_file import read_torch_file
from espnet_plugin.stacks.wav2vec2.config import CONV_LAYERS, Wav2Vec2Config

_FAMILIES = ("wav2vec2", "hubert", "wavlm")
_ANCHOR = "feature_extractor.conv_layers.0.conv.weight"
_POSITIONS = "encoder.pos_conv_embed.conv"
_BLOCK, _OURS = "encoder.layers.{i}", "blocks.{i}"
_TABLE = Table(
    {
        "feature_extractor.conv_layers.{i}.conv.{part}": "frontend.convolutions.{i}.conv.{part}",
        "feature_extractor.conv_layers.{i}.layer_norm.{part}": (
            "frontend.convolutions.{i}.norm.{part}"
        ),
        "feature_projection.layer_norm.{part}": "frontend.norm.{part}",
        "feature_projection.projection.{part}": "frontend.projection.{part}",
        "masked_spec_embed": "frontend.mask_embedding",
        f"{_POSITIONS}.weight_g": "frontend.positions.weight_g",
        f"{_POSITIONS}.weight_v": "frontend.positions.weight_v",
        f"{_POSITIONS}.parametrizations.weight.original0": "frontend.positions.weight_g",
        f"{_POSITIONS}.parametrizations.weight.original1": "frontend.positions.weight_v",
        f"{_POSITIONS}.bias": "frontend.positions.bias",
        "encoder.layer_norm.{part}": "norm.{part}",
        f"{_BLOCK}.attention.q_proj.{{part}}": f"{_OURS}.attention.query.{{part}}",
        f"{_BLOCK}.attention.k_proj.{{part}}": f"{_OURS}.attention.key.{{part}}",
        f"{_BLOCK}.attention.v_proj.{{part}}": f"{_OURS}.attention.value.{{part}}",
        f"{_BLOCK}.attention.out_proj.{{part}}": f"{_OURS}.attention.out.{{part}}",
        f"{_BLOCK}.layer_norm.{{part}}": f"{_OURS}.attention_norm.{{part}}",
        f"{_BLOCK}.feed_forward.intermediate_dense.{{part}}": (
            f"{_OURS}.feed_forward.expand.{{part}}"
        ),
        f"{_BLOCK}.feed_forward.output_dense.{{part}}": f"{_OURS}.feed_forward.contract.{{part}}",
        f"{_BLOCK}.final_layer_norm.{{part}}": f"{_OURS}.feed_forward_norm.{{part}}",
        "encoder.layers.0.attention.rel_attn_embed.weight": "relative_bias.weight",
        f"{_BLOCK}.attention.gru_rel_pos_linear.{{part}}": f"{_OURS}.attention.gate.{{part}}",
        f"{_BLOCK}.attention.gru_rel_pos_const": f"{_OURS}.attention.gate_scale",
    }
)


def read_hugging_face(directory: Path) -> Tuple[Wav2Vec2Config, Tensors]:
    """What a directory says of its encoder, and its tensors under our names.

    Args:
        directory: with config.json, and model.safetensors or pytorch_model.bin, whole or in
            shards with an index, of a model with or without a head. Where
            preprocessor_config.json says ``do_normalize``, the waveform is normalised.

    Raises:
        FileError: a model of another kind, a file that is missing or damaged.
        OSError: a file that cannot be opened.
    """
    settings = Settings(_read_json(directory / "config.json"))
    config = _config(settings, _normalizes(directory))
    tensors = below(_read_tensors(directory), _ANCHOR)
    for name, tensor in tensors.items():
        if name.endswith(".gru_rel_pos_const"):
            tensors[name] = flat(tensor)
    return config, _TABLE.translate(tensors)


def _config(settings: Settings, normalize: bool) -> Wav2Vec2Config:
    """transformers' configuration as ours; what it leaves out has transformers' defaults."""
    family = settings.value("model_type", "")
    if family not in _FAMILIES:
        raise FileError(f"its model_type is {family!r}; {', '.join(_FAMILIES)} can be loaded")
    for name, value in (
        ("hidden_act", "gelu"),
        ("feat_extract_activation", "gelu"),
        ("feat_proj_layer_norm", True),
        ("conv_pos_batch_norm", False),
    ):
        settings.require(name, value)
    if "adapter_attn_dim" in settings:
        raise FileError("its blocks have adapters (adapter_attn_dim), which cannot be loaded")
    wavlm = family == "wavlm"
    return Wav2Vec2Config(
        family=family,
        conv_layers=_convolutions(settings),
        conv_bias=settings.value("conv_bias", False),
        feature_norm=settings.value("feat_extract_norm", "group"),
        width=settings.value("hidden_size", 768),
        blocks=settings.value("num_hidden_layers", 12),
        heads=settings.value("num_attention_heads", 12),
        feed_forward=settings.value("intermediate_size", 3072),
        norm_first=settings.value("do_stable_layer_norm", False),
        pos_kernel=settings.value("num_conv_pos_embeddings", 128),
        pos_groups=settings.value("num_conv_pos_embedding_groups", 16),
        normalize_waveform=normalize,
        normalize_epsilon=1e-7,
        input_dropout=settings.value("feat_proj_dropout", 0.0),
        dropout=settings.value("hidden_dropout", 0.1),
        attention_dropout=settings.value("attention_dropout", 0.1),
        activation_dropout=settings.value("activation_dropout", 0.1),
        layer_drop=settings.value("layerdrop", 0.1),
        num_buckets=settings.value("num_buckets", 320) if wavlm else 0,
        max_distance=settings.value("max_bucket_distance", 800) if wavlm else 0,
    )


def _convolutions(settings: Settings) -> Tuple[Tuple[int, int, int], ...]:
    default = tuple(zip(*CONV_LAYERS, strict=True))
    names = ("conv_dim", "conv_kernel", "conv_stride")
    lists = [settings.value(name, value) for name, value in zip(names, default, strict=True)]
    return check_convolutions(list(zip(*lists, strict=False)))


def _normalizes(directory: Path) -> bool:
    path = directory / "preprocessor_config.json"
    return Settings(_read_json(path) if path.exists() else {}).value("do_normalize", False)


def weight_files(directory: Path) -> Tuple[Tuple[Path, ...], Callable[[Path], Any]]:
    """The files with the tensors, whole or in shards, and what reads one of them.

    Raises:
        FileError: there are none, or an index names one that is not there.
    """
    for name, read in (("model.safetensors", read_safetensors), ("pytorch_model.bin", _read_bin)):
        if (directory / name).exists():
            return (directory / name,), read
        index = directory / f"{name}.index.json"
        if index.exists():
            return tuple(directory / shard for shard in _shards(index)), read
    raise FileError("it has neither model.safetensors nor pytorch_model.bin")


def _read_tensors(directory: Path) -> Tensors:
    paths, read = weight_files(directory)
    tensors: Tensors = {}
    for path in paths:
        tensors.update(read(path))
    return tensors


def _read_bin(path: Path) -> Tensors:
    try:
        return plain_tensors(read_torch_file(path))
    except FileError as error:
        raise FileError(f"{path.name}: {error}") from error


def _shards(index: Path) -> Tuple[str, ...]:
    """The file names in an index, which must be beside it."""
    files = _read_json(index).get("weight_map")
    names = sorted(set(files.values())) if isinstance(files, dict) else []
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise FileError(f"{index.name} names a shard outside of the directory")
        if not (index.parent / name).exists():
            raise FileError(f"{name}, which {index.name} names, is not there")
    return tuple(names)


def _read_json(path: Path) -> Dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path.name} is damaged (no JSON)") from error
    if not isinstance(content, dict):
        raise FileError(f"{path.name} is damaged (no JSON object)")
    return content
