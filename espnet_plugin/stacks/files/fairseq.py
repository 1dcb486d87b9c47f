"""fairseq's wav2vec 2.0 and HuBERT: pre-trained, and fine-tuned with CTC."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Tuple

from espnet_plugin.stacks.files.names import Table, Tensors, below
from espnet_plugin.stacks.files.settings import Settings, convolutions
from espnet_plugin.stacks.files.stored import FileError, StoredTensor
from espnet_plugin.stacks.files.torch_file import read_torch_file
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.surgery.plan import BlockPlan

_ANCHOR = "feature_extractor.conv_layers.0.0.weight"
_LAYERS = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
_TUNED = ("wav2vec_ctc", "hubert_ctc", "filtered_wav2vec_ctc")
_FAMILIES = {"wav2vec2": "wav2vec2", "hubert": "hubert", "filtered_wav2vec2": "wav2vec2"}
_STACK = "encoder.stack."
_NORMS = {"default": "group", "layer_norm": "layer"}
_BLOCK, _OURS = "encoder.layers.{i}", "blocks.{i}"
_TABLE = Table(
    {
        "feature_extractor.conv_layers.{i}.0.{part}": "frontend.convolutions.{i}.conv.{part}",
        "feature_extractor.conv_layers.{i}.2.{part}": "frontend.convolutions.{i}.norm.{part}",
        "feature_extractor.conv_layers.{i}.2.1.{part}": "frontend.convolutions.{i}.norm.{part}",
        "layer_norm.{part}": "frontend.norm.{part}",
        "post_extract_proj.{part}": "frontend.projection.{part}",
        "mask_emb": "frontend.mask_embedding",
        "encoder.pos_conv.0.weight_g": "frontend.positions.weight_g",
        "encoder.pos_conv.0.weight_v": "frontend.positions.weight_v",
        "encoder.pos_conv.0.bias": "frontend.positions.bias",
        "encoder.layer_norm.{part}": "norm.{part}",
        f"{_BLOCK}.self_attn.q_proj.{{part}}": f"{_OURS}.attention.query.{{part}}",
        f"{_BLOCK}.self_attn.k_proj.{{part}}": f"{_OURS}.attention.key.{{part}}",
        f"{_BLOCK}.self_attn.v_proj.{{part}}": f"{_OURS}.attention.value.{{part}}",
        f"{_BLOCK}.self_attn.out_proj.{{part}}": f"{_OURS}.attention.out.{{part}}",
        f"{_BLOCK}.self_attn_layer_norm.{{part}}": f"{_OURS}.attention_norm.{{part}}",
        f"{_BLOCK}.fc1.{{part}}": f"{_OURS}.feed_forward.expand.{{part}}",
        f"{_BLOCK}.fc2.{{part}}": f"{_OURS}.feed_forward.contract.{{part}}",
        f"{_BLOCK}.final_layer_norm.{{part}}": f"{_OURS}.feed_forward_norm.{{part}}",
    }
)


def read_fairseq(
    path: Path, content: Dict[Any, Any]
) -> Tuple[Wav2Vec2Config, Tensors, Tuple[BlockPlan, ...]]:
    """What a checkpoint of fairseq says of its encoder, its tensors under our names, and its edits.

    The edits are those of our own models for fairseq (:mod:`espnet_plugin.fairseq_models`), oldest
    first.

    Args:
        path: the file.
        content: its dictionary: ``model`` and ``cfg``, or ``args`` before fairseq 0.10. A
            fine-tuned model's configuration holds that of pre-training in ``w2v_args``; where it
            does not (fairseq 0.12 leaves it out for HuBERT), it is read from the pre-trained
            checkpoint, as fairseq does: where ``w2v_path`` says, or beside the file.

    Raises:
        FileError: a model of another kind, or a configuration that does not say enough.
        PlanError: edits that make no sense.
    """
    model, task = _sections(content)
    texts = [model.value("plan_text", "")]
    if model.value("_name", model.value("arch", "")) in _TUNED:
        pretrained = model.section("w2v_args")
        model, task = _split(pretrained) if pretrained else _pretrained(path, model)
        texts.insert(0, model.value("plan_text", ""))
    plans = [BlockPlan.parse(text) for text in texts if text]
    family = _family(model)
    tensors = below(plain_tensors(content["model"]), _ANCHOR)
    projection = "post_extract_proj.weight" in tensors
    return stack_config(model, task, family, projection), translate(tensors), tuple(plans)


def translate(tensors: Tensors) -> Tensors:
    """The tensors of a fairseq encoder under our names; those of our own models have them."""
    ours = {k[len(_STACK) :]: tensor for k, tensor in tensors.items() if k.startswith(_STACK)}
    return {**_TABLE.translate(tensors), **ours}


def _pretrained(path: Path, model: Settings) -> Tuple[Settings, Settings]:
    """The configuration of the checkpoint that was fine-tuned."""
    named = Path(model.value("w2v_path", "checkpoint of pre-training"))
    for place in (named, path.parent / named.name):
        if place.is_file():
            content = read_torch_file(place)
            if isinstance(content, dict):
                return _sections(content)
    raise FileError(
        f"it is fine-tuned, and the configuration of pre-training is not in it; put {named.name} "
        "beside it"
    )


def plain_tensors(values: Any) -> Tensors:
    """The tensors of a state dictionary by name; whatever else is in it is left out."""
    entries = values.items() if isinstance(values, dict) else ()
    return {k: v for k, v in entries if isinstance(k, str) and isinstance(v, StoredTensor)}


def _sections(content: Dict[Any, Any]) -> Tuple[Settings, Settings]:
    for name in ("cfg", "args"):
        settings = Settings(content.get(name))
        if settings:
            return _split(settings)
    raise FileError("it has no configuration (cfg or args)")


def _split(settings: Settings) -> Tuple[Settings, Settings]:
    """Of the model and of the task; the old form has all in one."""
    if "model" in settings:
        return settings.section("model"), settings.section("task")
    return settings, settings


def stack_config(model: Settings, task: Settings, family: str, projection: bool) -> Wav2Vec2Config:
    """fairseq's configuration as ours; what it leaves out has fairseq's defaults.

    Args:
        model, task: their settings.
        family: wav2vec2 or hubert.
        projection: whether the features are projected.

    Raises:
        FileError: a layout that is not known.
    """
    for name, value in (
        ("activation_fn", "gelu"),
        ("layer_type", "transformer"),
        ("quantize_input", False),
        ("pos_conv_depth", 1),
        ("crop_seq_to_multiple", 1),
    ):
        model.require(name, value)
    norm = model.value("extractor_mode", "default")
    if norm not in _NORMS:
        raise FileError(f"its configuration has extractor_mode: {norm!r}, which is not known")
    return Wav2Vec2Config(
        family=family,
        conv_layers=convolutions(model.value("conv_feature_layers", _LAYERS)),
        conv_bias=model.value("conv_bias", False),
        feature_norm=_NORMS[norm],
        projection=projection,
        width=model.value("encoder_embed_dim", 768),
        blocks=model.value("encoder_layers", 12),
        heads=model.value("encoder_attention_heads", 12),
        feed_forward=model.value("encoder_ffn_embed_dim", 3072),
        norm_first=model.value("layer_norm_first", False),
        pos_kernel=model.value("conv_pos", 128),
        pos_groups=model.value("conv_pos_groups", 16),
        normalize_waveform=task.value("normalize", False),
        normalize_epsilon=1e-5,
        padding="cells" if family == "hubert" else "convolution",
        input_dropout=model.value("dropout_input", 0.0),
        dropout=model.value("dropout", 0.1),
        attention_dropout=model.value("attention_dropout", 0.1),
        activation_dropout=model.value("activation_dropout", 0.0),
        layer_drop=model.value("encoder_layerdrop", 0.0),
    )


def _family(model: Settings) -> str:
    name = model.value("_name", model.value("arch", ""))
    if name not in _FAMILIES:
        raise FileError(
            f"it is a model of fairseq named {name!r}; wav2vec2 and hubert can be loaded, and "
            "wav2vec_ctc and hubert_ctc of them"
        )
    return _FAMILIES[name]
