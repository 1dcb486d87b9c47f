"""Every ready configuration is one that ESPnet and our commands take."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from espnet_plugin.bin import asr_inference_k2
from espnet_plugin.encoders.reuse_conformer import ReuseConformerEncoder
from espnet_plugin.task import ASRTask

ROOT = Path(__file__).parents[1]
TRAINING = sorted(ROOT.glob("conf/train_*.yaml")) + sorted(
    ROOT.glob("egs/*/asr1/conf/train_*.yaml")
)
FROM_CHECKPOINTS = [path for path in TRAINING if "checkpoint:" in path.read_text()]
DECODING = sorted(ROOT.glob("conf/decode_*.yaml"))
TOKENS = ["<blank>", "<unk>", "a", "<sos/eos>"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_configurations_that_begin_with_a_checkpoint_have_their_own_tests():
    encoders = {yaml.safe_load(path.read_text())["encoder"] for path in FROM_CHECKPOINTS}
    assert encoders == {"filtered_wav2vec2", "pruned_stack", "mimic_stack"}


@pytest.mark.parametrize("path", [p for p in TRAINING if p not in FROM_CHECKPOINTS], ids=name)
def test_training_configurations_build_a_ctc_model(path, tmp_path):
    (tmp_path / "tokens.txt").write_text("".join(f"{token}\n" for token in TOKENS))
    args = ASRTask.get_parser().parse_args(
        ["--config", str(path), "--token_list", str(tmp_path / "tokens.txt")]
        + ["--output_dir", str(tmp_path)]
    )
    assert args.optim_conf["lr"] > 0 and [["valid", "loss", "min"]] == args.best_model_criterion
    model = ASRTask.build_model(args)
    assert model.ctc_weight == 1.0 and model.decoder is None
    written = yaml.safe_load(path.read_text())
    conf = written["encoder_conf"]
    if "stack" in conf:
        assert len(model.encoder.stack.blocks) == conf["stack"]["config"]["blocks"]
    else:
        assert len(model.encoder.encoders) == conf["num_blocks"]
    if written["encoder"] == "reuse_conformer":
        assert isinstance(model.encoder, ReuseConformerEncoder)
        assert [len(group) for group in model.encoder.groups] == [4, 4, 4, 4]


def test_the_medium_models_differ_in_the_encoder_alone():
    plain, reuse = (
        yaml.safe_load((ROOT / "conf" / f"train_asr_{name}_medium.yaml").read_text())
        for name in ("conformer", "reuse_conformer")
    )
    assert reuse["encoder_conf"].pop("reuse_groups") == 4
    assert {**reuse, "encoder": "conformer"} == plain


@pytest.mark.parametrize("path", DECODING, ids=name)
def test_decoding_configurations_are_known_options(path):
    parser = asr_inference_k2.get_parser()
    args = vars(parser.parse_args(["--config", str(path), "--output_dir", "out"]))
    for option, value in yaml.safe_load(path.read_text()).items():
        assert args[option] == value
