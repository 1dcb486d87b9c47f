"""Tiny models that real fairseq builds, saves and loads again."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, Dict

import pytest
import torch

pytest.importorskip("fairseq", reason="fairseq is not installed: its checkpoints are not written")

from fairseq import checkpoint_utils, tasks
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.initialize import add_defaults
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

SIZES = {
    "encoder_layers": 3,
    "encoder_embed_dim": 24,
    "encoder_ffn_embed_dim": 40,
    "encoder_attention_heads": 4,
    "conv_feature_layers": "[(16, 10, 5)] + [(16, 3, 2)] * 2 + [(16,2,2)]",
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "final_dim": 8,
    "encoder_layerdrop": 0.05,
}
LAYOUTS: Dict[str, Dict[str, Any]] = {
    "base": {},
    "large": {"layer_norm_first": True, "extractor_mode": "layer_norm", "conv_bias": True},
}


def train(folder: Path, family: str, layout: str, seed: int = 0) -> Path:
    """A checkpoint of pre-training, with fairseq's own trainer, before the first update."""
    task = {"wav2vec2": "audio_pretraining", "hubert": "hubert_pretraining"}[family]
    model = {"_name": family, **SIZES, **LAYOUTS[layout]}
    if family == "wav2vec2":
        model.update(quantize_targets=True, latent_vars=8)
    (folder / "dict.km.txt").write_text("".join(f"{i} 1\n" for i in range(5)))
    (folder / "dict.ltr.txt").write_text("| 3\nE 2\nT 1\n")
    options: Dict[str, Any] = {"data": str(folder), "normalize": layout == "large"}
    if family == "hubert":
        options.update(labels=["km"], label_rate=50.0)
    criterion = {"wav2vec2": "wav2vec", "hubert": "hubert"}[family]
    return _save(folder / f"{family}_{layout}.pt", model, task, options, criterion, seed)


def tune(pretrained: Path, family: str, layout: str) -> Path:
    """A checkpoint of CTC fine-tuning of ``pretrained``; its tensors differ from that one's."""
    folder = pretrained.parent
    model = {"_name": {"wav2vec2": "wav2vec_ctc", "hubert": "hubert_ctc"}[family]}
    model.update(w2v_path=str(pretrained), layerdrop=0.1)
    options: Dict[str, Any] = {"data": str(folder), "labels": "ltr", "normalize": layout == "large"}
    task = "audio_finetuning"
    if family == "hubert":
        task = "hubert_pretraining"
        options.update(labels=["ltr"], fine_tuning=True, label_rate=-1.0)
    path = folder / f"{family}_{layout}_ctc.pt"
    return _save(path, model, task, options, "ctc", seed=None)


def embedded(path: Path, target: Path) -> Path:
    """A fine-tuned HuBERT with the configuration of pre-training in it, as the published ones;
    the trainer of fairseq 0.12.2 leaves it out, and takes it from ``w2v_path`` again."""
    content = torch.load(path)
    assert content["cfg"]["model"]["w2v_args"] is None
    content["cfg"]["model"]["w2v_args"] = torch.load(content["cfg"]["model"]["w2v_path"])["cfg"]
    torch.save(content, target)
    return target


def old_form(path: Path, target: Path) -> Path:
    """The checkpoint as fairseq wrote it before 0.10: one namespace, ``args``, and torch's format
    of before 1.6."""
    content = torch.load(path)
    content["args"] = _namespace(content.pop("cfg"))
    torch.save(content, target, _use_new_zipfile_serialization=False)
    return target


def with_omegaconf(path: Path, target: Path) -> Path:
    """The checkpoint with OmegaConf's containers, as early versions with Hydra wrote it."""
    content = torch.load(path)
    content["cfg"] = OmegaConf.create(content["cfg"])
    torch.save(content, target)
    return target


def original(path: Path) -> Any:
    """The encoder of a checkpoint as fairseq itself loads it, in evaluation mode."""
    models, _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)])
    model = models[0].eval()
    return model.w2v_encoder.w2v_model if hasattr(model, "w2v_encoder") else model


def _save(path: Path, model: Dict, task: str, options: Dict, criterion: str, seed: Any) -> Path:
    plain = OmegaConf.to_container(OmegaConf.structured(FairseqConfig), enum_to_str=True)
    cfg = OmegaConf.create(plain)
    cfg.common.cpu = True
    cfg.optimization.lr = [1e-3]
    cfg.task = {"_name": task, **options}
    cfg.model = model
    cfg.criterion = {"_name": criterion}
    cfg.optimizer = {"_name": "adam"}
    cfg.lr_scheduler = {"_name": "fixed"}
    add_defaults(cfg)
    job = tasks.setup_task(cfg.task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        built = job.build_model(cfg.model)
        _spread(built)
    trainer = Trainer(cfg, job, built, job.build_criterion(cfg.criterion))
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(path), {"train_iterator": {"epoch": 1}, "val_loss": None})
    return path


def _spread(model: torch.nn.Module) -> None:
    """Norms and biases that are not ones and zeros, so that a mistaken one is seen."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(torch.randn_like(parameter), alpha=0.2)


def _namespace(cfg: Any) -> Namespace:
    flat: Dict[str, Any] = {}
    for section in ("task", "model"):
        flat.update({k: v for k, v in cfg[section].items() if not isinstance(v, dict)})
    del flat["_name"]
    if cfg["model"].get("w2v_args") is not None:
        flat["w2v_args"] = _namespace(cfg["model"]["w2v_args"])
    flat.update(arch=cfg["model"]["_name"], task=cfg["task"]["_name"], criterion="ctc")
    return Namespace(**flat)
