"""torchaudio's wav2vec 2.0, HuBERT and WavLM: state dictionaries and whole modules."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Tuple

from espnet_plugin.stacks.files.fairseq import plain_tensors
from espnet_plugin.stacks.files.inert import Record
from espnet_plugin.stacks.files.names import Table, Tensors, below, flat, numbered
from espnet_plugin.stacks.files.settings import Settings, check_convolutions
from espnet_plugin.stacks.files.stored import FileError, StoredTensor
from espnet_plugin.stacks.wav2vec2.config import CONV_LAYERS, Wav2Vec2Config

ANCHOR = "encoder.transformer.pos_conv_embed.conv.bias"
"""A tensor that only torchaudio's models name so."""

_FIRST = "feature_extractor.conv_layers.0.conv.weight"
_LAYERS = "encoder.transformer.layers"
_POSITIONS = "encoder.transformer.pos_conv_embed.conv"
_HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16}
"""Of the published layouts, by width; a state dictionary does not tell."""
_BUCKETS, _MAX_DISTANCE = 320, 800
_ADVICE = "save {'state_dict': …, 'config': …} with the arguments of wav2vec2_model"
_BLOCK, _OURS = f"{_LAYERS}.{{i}}", "blocks.{i}"
_TABLE = Table(
    {
        "feature_extractor.conv_layers.{i}.conv.{part}": "frontend.convolutions.{i}.conv.{part}",
        "feature_extractor.conv_layers.{i}.layer_norm.{part}": (
            "frontend.convolutions.{i}.norm.{part}"
        ),
        "encoder.feature_projection.layer_norm.{part}": "frontend.norm.{part}",
        "encoder.feature_projection.projection.{part}": "frontend.projection.{part}",
        "mask_generator.mask_embedding": "frontend.mask_embedding",
        f"{_POSITIONS}.weight_g": "frontend.positions.weight_g",
        f"{_POSITIONS}.weight_v": "frontend.positions.weight_v",
        f"{_POSITIONS}.parametrizations.weight.original0": "frontend.positions.weight_g",
        f"{_POSITIONS}.parametrizations.weight.original1": "frontend.positions.weight_v",
        f"{_POSITIONS}.bias": "frontend.positions.bias",
        "encoder.transformer.layer_norm.{part}": "norm.{part}",
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
        f"{_LAYERS}.0.attention.rel_attn_embed.weight": "relative_bias.weight",
        f"{_BLOCK}.attention.gru_rel_pos_linear.{{part}}": f"{_OURS}.attention.gate.{{part}}",
        f"{_BLOCK}.attention.gru_rel_pos_const": f"{_OURS}.attention.gate_scale",
    }
)


def read_torchaudio(content: Any) -> Tuple[Wav2Vec2Config, Tensors]:
    """What a file says of a torchaudio model, and its tensors under our names.

    Args:
        content: a state dictionary (of ``Wav2Vec2Model``, of ``HuBERTPretrainModel`` or of a
            bundle's model); a dictionary with one as ``state_dict`` and, as ``config``, the
            arguments of ``torchaudio.models.wav2vec2_model`` or ``wavlm_model``; or a module.

    A state dictionary alone says nothing of heads, strides and normalisation. They are those of the
    published layouts: strides 5, 2, 2, 2, 2, 2, 2; heads by width; norms first where each
    convolution has a norm, and there a bundle's model (whose names begin with ``model.``)
    normalises the waveform. A model that says it is HuBERT's only in its training form is one.

    Raises:
        FileError: another model, or a layout that is not published and not described.
    """
    if isinstance(content, Record):
        state, given = plain_tensors(dict(_walk(content))), Settings(_describe(content))
    else:
        state = plain_tensors(content.get("state_dict", content))
        given = Settings(content.get("config"))
    tensors = _separate(below(state, _FIRST))
    trained = [name for name in state if name.endswith("mask_generator.mask_embedding")]
    if trained:
        tensors["mask_generator.mask_embedding"] = state[trained[0]]
    wrapped = f"model.{_FIRST}" in state
    family = "hubert" if trained else "wav2vec2"
    return _config(tensors, given, family, wrapped), _TABLE.translate(tensors)


def _config(tensors: Tensors, given: Settings, family: str, wrapped: bool) -> Wav2Vec2Config:
    """The layout by the tensors' shapes, and by ``given`` where these do not tell."""
    width, features = _shape(tensors, "encoder.feature_projection.projection.weight", 2)
    per_group, kernel = _shape(tensors, f"{_POSITIONS}.bias", 1)[0], 0
    for name in ("weight_v", "parametrizations.weight.original1"):
        if f"{_POSITIONS}.{name}" in tensors:
            _, per_group, kernel = _shape(tensors, f"{_POSITIONS}.{name}", 3)
    norm = "feature_extractor.conv_layers.1.layer_norm.weight"
    layered = norm in tensors
    table = f"{_LAYERS}.0.attention.rel_attn_embed.weight"
    buckets = heads = 0
    if table in tensors:
        family = "wavlm"
        buckets, heads = _shape(tensors, table, 2)
    heads = given.value("encoder_num_heads", heads or _HEADS.get(width, 0))
    if not heads:
        raise FileError(f"it does not say how many heads its width of {width} has; {_ADVICE}")
    distance = given.value("encoder_max_distance", _MAX_DISTANCE if buckets == _BUCKETS else 0)
    if buckets and not distance:
        raise FileError(f"it does not say how far its {buckets} biases reach; {_ADVICE}")
    inner = _shape(tensors, f"{_LAYERS}.0.feed_forward.intermediate_dense.weight", 2)[0]
    return Wav2Vec2Config(
        family=family,
        conv_layers=_convolutions(tensors, given),
        conv_bias="feature_extractor.conv_layers.0.conv.bias" in tensors,
        feature_norm="layer" if layered else "group",
        width=width,
        blocks=numbered(tensors, _LAYERS),
        heads=heads,
        feed_forward=inner,
        norm_first=given.value("encoder_layer_norm_first", layered),
        pos_kernel=kernel,
        pos_groups=width // max(per_group, 1),
        normalize_waveform=given.value("normalize_waveform", wrapped and layered),
        input_dropout=given.value("encoder_projection_dropout", 0.1),
        dropout=given.value("encoder_dropout", 0.1),
        attention_dropout=given.value("encoder_attention_dropout", 0.1),
        activation_dropout=given.value("encoder_ff_interm_dropout", 0.0),
        layer_drop=given.value("encoder_layer_drop", 0.05),
        num_buckets=buckets,
        max_distance=distance if buckets else 0,
    )


def _convolutions(tensors: Tensors, given: Settings) -> Tuple[Tuple[int, int, int], ...]:
    if "extractor_conv_layer_config" in given:
        return check_convolutions(given.value("extractor_conv_layer_config", ()) or [])
    found: List[Tuple[int, int]] = []
    for number in range(numbered(tensors, "feature_extractor.conv_layers")):
        name = f"feature_extractor.conv_layers.{number}.conv.weight"
        channels, _, kernel = _shape(tensors, name, 3)
        found.append((channels, kernel))
    if [kernel for _, kernel in found] != [kernel for _, kernel, _ in CONV_LAYERS]:
        raise FileError(f"it does not say the strides of its convolutions; {_ADVICE}")
    pairs = zip(found, CONV_LAYERS, strict=True)
    return check_convolutions([(*layer, stride) for layer, (_, _, stride) in pairs])


def _shape(tensors: Tensors, name: str, dimensions: int) -> Tuple[int, ...]:
    if name not in tensors or len(tensors[name].shape) != dimensions:
        raise FileError(f"its {name} is missing or of another shape than torchaudio's")
    return tuple(tensors[name].shape)


def _separate(tensors: Tensors) -> Tensors:
    """WavLM's tensors by the names of the others: query, key and value are one tensor there."""
    separate: Tensors = {}
    for name, tensor in tensors.items():
        plain = name.replace(".attention.attention.", ".attention.")
        if ".in_proj_" in name and isinstance(tensor, StoredTensor) and tensor.shape:
            third = tensor.shape[0] // 3
            for place, part in enumerate("qkv"):
                rows = tensor.rows(place * third, (place + 1) * third)
                separate[plain.replace("in_proj_", f"{part}_proj.")] = rows
        elif name.endswith(".gru_rel_pos_const"):
            separate[name] = flat(tensor)
        else:
            separate[plain] = tensor
    return separate


def _walk(module: Record, prefix: str = "", depth: int = 0) -> Iterator[Tuple[str, Any]]:
    """The parameters of a module's record by name."""
    if depth > 20:
        raise FileError("it is damaged (modules within modules without end)")
    for name, value in _entries(module, "_parameters").items():
        yield f"{prefix}{name}", value
    for name, value in _entries(module, "_modules").items():
        if isinstance(value, Record):
            yield from _walk(value, f"{prefix}{name}.", depth + 1)


def _entries(module: Record, kind: str) -> Dict[str, Any]:
    entries = module.attributes.get(kind)
    return entries if isinstance(entries, dict) else {}


def _describe(module: Record) -> Dict[str, Any]:
    """What a module's record says of itself, by the names of torchaudio's arguments."""
    values: Dict[str, Any] = {"normalize_waveform": module.attributes.get("normalize_waveform")}
    for name in ("model", "wav2vec2"):
        if name in _entries(module, "_modules"):
            module = _child(module, name)
    layers = [
        _child(layer, "conv").attributes
        for layer in _children(module, "feature_extractor.conv_layers")
    ]
    names = ("out_channels", "kernel_size", "stride")
    values["extractor_conv_layer_config"] = [
        tuple(_number(layer.get(name)) for name in names) for layer in layers
    ]
    values["encoder_layer_drop"] = _child(module, "encoder.transformer").attributes.get(
        "layer_drop"
    )
    for block in _children(module, _LAYERS)[:1]:
        attention = _child(block, "attention").attributes
        values["encoder_num_heads"] = attention.get("num_heads")
        values["encoder_max_distance"] = attention.get("max_distance")
        values["encoder_layer_norm_first"] = block.attributes.get("layer_norm_first")
        values["encoder_dropout"] = _child(block, "dropout").attributes.get("p")
    return values


def _child(module: Record, path: str) -> Record:
    """The submodule at ``path``; an empty record where there is none."""
    for name in path.split("."):
        found = _entries(module, "_modules").get(name)
        module = found if isinstance(found, Record) else Record("")
    return module


def _children(module: Record, path: str) -> List[Record]:
    found = _entries(_child(module, path), "_modules").values()
    return [child for child in found if isinstance(child, Record)]


def _number(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value
