"""Small ESPnet experiments with random parameters, for tests that need a real model directory."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import yaml

SENTENCES = [
    "the quick brown fox jumps over the lazy dog",
    "she sells sea shells by the sea shore",
    "how much wood would a woodchuck chuck",
    "peter piper picked a peck of pickled peppers",
]

ENCODER_CONF = {
    "output_size": 16,
    "attention_heads": 2,
    "linear_units": 32,
    "num_blocks": 2,
    "dropout_rate": 0.0,
    "positional_dropout_rate": 0.0,
    "attention_dropout_rate": 0.0,
    "input_layer": "conv2d",
    "macaron_style": True,
    "pos_enc_layer_type": "rel_pos",
    "selfattention_layer_type": "rel_selfattn",
    "activation_type": "swish",
    "use_cnn_module": True,
    "cnn_module_kernel": 7,
    "rel_pos_type": "latest",
}


def write_experiment(
    directory: Path,
    seed: int = 0,
    encoder: str = "conformer",
    encoder_conf: dict[str, Any] | None = None,
    vocab_size: int = 40,
    sharpness: float = 30.0,
    decoder: str | None = None,
) -> Path:
    """Write config.yaml, bpe.model and valid.loss.ave.pth of a CTC model; give ``directory``.

    With ``decoder`` the model has an attention decoder of that type. ``sharpness`` multiplies
    the CTC layer, so that a random model prefers some tokens.
    """
    from espnet_plugin.task import ASRTask

    directory.mkdir(parents=True, exist_ok=True)
    text = directory / "sentences.txt"
    text.write_text("\n".join(SENTENCES * 20) + "\n", encoding="utf-8")
    sentencepiece.SentencePieceTrainer.Train(
        input=str(text),
        model_prefix=str(directory / "bpe"),
        vocab_size=vocab_size,
        model_type="bpe",
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor()
    pieces.load(str(directory / "bpe.model"))
    names = [pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size())]
    config = ASRTask.get_default_config()
    config.update(
        token_list=["<blank>", "<unk>", *names, "<sos/eos>"],
        token_type="bpe",
        bpemodel=str(directory / "bpe.model"),
        frontend="default",
        frontend_conf={"n_fft": 400, "hop_length": 160, "n_mels": 20, "fs": 16000},
        specaug=None,
        normalize="utterance_mvn",
        normalize_conf={},
        encoder=encoder,
        encoder_conf={**(ENCODER_CONF if "conformer" in encoder else {}), **(encoder_conf or {})},
        decoder=decoder,
        decoder_conf={"attention_heads": 2, "linear_units": 32, "num_blocks": 1} if decoder else {},
        model_conf={"ctc_weight": 0.5 if decoder else 1.0},
        input_size=None,
        init=None,
    )
    (directory / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    torch.manual_seed(seed)
    model = ASRTask.build_model(argparse.Namespace(**config))
    with torch.no_grad():
        model.ctc.ctc_lo.weight.mul_(sharpness)
    torch.save(model.state_dict(), directory / "valid.loss.ave.pth")
    return directory
