"""Tiny models of torchaudio and fairseq with random parameters, and the same as our stacks."""

from __future__ import annotations

import re

import torch

from espnet_plugin.stacks.parameters import fill
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

SIZES = {
    "conv_layers": ((12, 10, 5), (10, 3, 2), (14, 2, 2)),
    "width": 24,
    "blocks": 3,
    "heads": 4,
    "feed_forward": 40,
    "pos_kernel": 6,
    "pos_groups": 3,
}
BASE = SIZES
LARGE = {
    **SIZES,
    "conv_bias": True,
    "feature_norm": "layer",
    "norm_first": True,
    "normalize_waveform": True,
    "pos_kernel": 5,
}
RELATIVE = {"num_buckets": 16, "max_distance": 12}

TORCHAUDIO = {
    r"feature_extractor\.conv_layers\.(\d+)\.conv\.": r"frontend.convolutions.\1.conv.",
    r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.": r"frontend.convolutions.\1.norm.",
    r"encoder\.feature_projection\.layer_norm\.": "frontend.norm.",
    r"encoder\.feature_projection\.projection\.": "frontend.projection.",
    r"encoder\.transformer\.pos_conv_embed\.conv\.parametrizations\.weight\.original0": (
        "frontend.positions.weight_g"
    ),
    r"encoder\.transformer\.pos_conv_embed\.conv\.parametrizations\.weight\.original1": (
        "frontend.positions.weight_v"
    ),
    r"encoder\.transformer\.pos_conv_embed\.conv\.": "frontend.positions.",
    r"encoder\.transformer\.layer_norm\.": "norm.",
    r"encoder\.transformer\.layers\.0\.attention\.rel_attn_embed\.": "relative_bias.",
    r"encoder\.transformer\.layers\.": "blocks.",
    r"\.attention\.attention\.": ".attention.",
    r"\.gru_rel_pos_linear\.": ".gate.",
    r"\.gru_rel_pos_const$": ".gate_scale",
    r"(blocks\.\d+)\.layer_norm\.": r"\1.attention_norm.",
    r"\.final_layer_norm\.": ".feed_forward_norm.",
    r"\.(q|k|v|out)_proj\.": lambda m: {
        "q": ".query.",
        "k": ".key.",
        "v": ".value.",
        "out": ".out.",
    }[m[1]],
    r"\.intermediate_dense\.": ".expand.",
    r"\.output_dense\.": ".contract.",
}
FAIRSEQ = {
    r"^mask_emb$": "frontend.mask_embedding",
    r"feature_extractor\.conv_layers\.(\d+)\.0\.": r"frontend.convolutions.\1.conv.",
    r"feature_extractor\.conv_layers\.(\d+)\.2\.(1\.)?": r"frontend.convolutions.\1.norm.",
    r"^layer_norm\.": "frontend.norm.",
    r"^post_extract_proj\.": "frontend.projection.",
    r"encoder\.pos_conv\.0\.": "frontend.positions.",
    r"encoder\.layer_norm\.": "norm.",
    r"encoder\.layers\.": "blocks.",
    r"\.self_attn\.": ".attention.",
    r"\.(q|k|v|out)_proj\.": TORCHAUDIO[r"\.(q|k|v|out)_proj\."],
    r"\.self_attn_layer_norm\.": ".attention_norm.",
    r"\.final_layer_norm\.": ".feed_forward_norm.",
    r"\.fc1\.": ".feed_forward.expand.",
    r"\.fc2\.": ".feed_forward.contract.",
}


def randomise(model, seed=0):
    """Parameters of size about 1 everywhere, so that nothing hides behind zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 0.3 if parameter.dim() > 1 else 0.5
            if name.endswith(("weight_g", "original0")):
                parameter.copy_(noise.abs() + 0.5)
            elif parameter.dim() > 1 and "rel_attn_embed" not in name:
                parameter.copy_(noise / parameter[0].numel() ** 0.5 * 1.5)
            else:
                parameter.add_(scale * noise)
    return model.eval()


def renamed(state, names):
    """``state`` under our names; ``names`` are applied one after the other."""
    ours = {}
    for name, tensor in state.items():
        for old, new in names.items():
            name = re.sub(old, new, name)
        ours[name] = tensor
    return ours


def split_projections(state):
    """torch's joint projection of queries, keys and values in three, and WavLM's scale flat."""
    parts = {}
    for name, tensor in state.items():
        if ".in_proj_" in name:
            for part, value in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                parts[name.replace("in_proj_", f"{part}.")] = value
        else:
            parts[name] = tensor.flatten() if name.endswith("gate_scale") else tensor
    return parts


def stack_of(state, config):
    stack = Wav2Vec2Stack(config, "meta")
    state.setdefault("frontend.mask_embedding", torch.zeros(config.width))
    fill(stack, {name: tensor.detach().clone() for name, tensor in state.items()})
    return stack.eval()


def torchaudio_model(config):
    """A model of torchaudio of our layout."""
    import torchaudio

    options = {
        "extractor_mode": f"{config.feature_norm}_norm",
        "extractor_conv_layer_config": [list(layer) for layer in config.conv_layers],
        "extractor_conv_bias": config.conv_bias,
        "encoder_embed_dim": config.width,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": config.pos_kernel,
        "encoder_pos_conv_groups": config.pos_groups,
        "encoder_num_layers": config.blocks,
        "encoder_num_heads": config.heads,
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": config.feed_forward,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": config.norm_first,
        "encoder_layer_drop": 0.0,
        "aux_num_out": None,
    }
    if config.family == "wavlm":
        options["encoder_num_buckets"] = config.num_buckets
        options["encoder_max_distance"] = config.max_distance
        model = torchaudio.models.wavlm_model(**options)
    else:
        model = torchaudio.models.wav2vec2_model(**options)
    return randomise(model)


def from_torchaudio(model, config):
    return stack_of(split_projections(renamed(model.state_dict(), TORCHAUDIO)), config)


def fairseq_model(config):
    """A pre-training model of fairseq of our layout: wav2vec 2.0 or HuBERT."""
    from omegaconf import OmegaConf

    options = {
        "extractor_mode": "default" if config.feature_norm == "group" else "layer_norm",
        "conv_feature_layers": str([tuple(layer) for layer in config.conv_layers]),
        "conv_bias": config.conv_bias,
        "encoder_embed_dim": config.width,
        "encoder_layers": config.blocks,
        "encoder_attention_heads": config.heads,
        "encoder_ffn_embed_dim": config.feed_forward,
        "layer_norm_first": config.norm_first,
        "conv_pos": config.pos_kernel,
        "conv_pos_groups": config.pos_groups,
        "final_dim": 8,
    }
    if config.family == "hubert":
        from fairseq.data import Dictionary
        from fairseq.models.hubert.hubert import HubertConfig, HubertModel
        from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig

        labels = Dictionary()
        labels.add_symbol("0")
        task = HubertPretrainingConfig(data=".", labels=["km"], label_rate=50.0)
        structured = OmegaConf.structured(HubertConfig)
        structured = OmegaConf.merge(structured, {**options, "label_rate": 50})
        return randomise(HubertModel(structured, OmegaConf.structured(task), [labels]))
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config as Options
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model

    return randomise(Wav2Vec2Model(OmegaConf.merge(OmegaConf.structured(Options), options)))


def from_fairseq(model, config):
    ours = renamed(model.state_dict(), FAIRSEQ)
    known = ("frontend.", "norm.", "blocks.")
    return stack_of({k: v for k, v in ours.items() if k.startswith(known)}, config)


def config_of(family, layout, **changes):
    more = RELATIVE if family == "wavlm" else {}
    return Wav2Vec2Config(family=family, **{**layout, **more, **changes})


def waveforms(lengths, seed=1):
    """(B, N), zero after each end, and the lengths (B,)."""
    speech = torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(seed))
    for row, length in zip(speech, lengths, strict=True):
        row[:length] *= 3 * torch.rand((), generator=torch.Generator().manual_seed(length)) + 0.5
        row[:length] += 0.3
        row[length:] = 0
    return speech, torch.tensor(lengths)


def normalised(speech, lengths):
    """As fairseq's data set and torchaudio's pipelines do it, utterance by utterance."""
    out = torch.zeros_like(speech)
    for row, source, length in zip(out, speech, lengths.tolist(), strict=True):
        row[:length] = torch.nn.functional.layer_norm(source[:length], (length,))
    return out
