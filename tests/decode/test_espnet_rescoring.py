"""asr.sh's decoding line for k2 with n-best rescoring, through the launcher, against ESPnet."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny_models import write_experiment

pytest.importorskip("k2", reason="k2 is not installed for this torch")

ROOT = Path(__file__).parents[2]
# Beams so narrow, and a model so sure, that the lists hold every hypothesis of a lattice.
K2_CONFIG = {
    "search_beam_size": 20,
    "output_beam_size": 4,
    "blank_bias": -1.0,
    "lattice_weight": 0.9,
    "am_weight": 0.7,
    "decoder_weight": 1.5,
    "nnlm_weight": 0.5,
}
# What asr.sh writes in stage 12 with its options --use_k2 true --use_lm true
# --k2_ctc_decoding true --use_nbest_rescoring true --num_paths 500 --nll_batch_size 20.
ASR_SH = """
${python} -m espnet2.bin.asr_inference_k2 --batch_size 1 --ngpu 0 \
    --data_path_and_name_and_type data/wav.scp,speech,sound --key_file data/wav.scp \
    --asr_train_config exp/asr/config.yaml --asr_model_file exp/asr/valid.loss.ave.pth \
    --output_dir exp/asr/decode/logdir/output.1 \
    --lm_train_config exp/lm/config.yaml --lm_file exp/lm/valid.loss.ave.pth \
    --is_ctc_decoding true --use_nbest_rescoring true --num_paths 500 --nll_batch_size 20 \
    --k2_config conf/k2.yaml
"""


def write_lm(directory: Path, token_list: list[str]) -> None:
    from espnet2.tasks.lm import LMTask

    directory.mkdir(parents=True)
    config = LMTask.get_default_config()
    conf = {"embed_unit": 8, "att_unit": 16, "head": 2, "unit": 32, "layer": 1}
    config.update(token_list=token_list, lm="transformer", lm_conf=conf, init=None)
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(2)
    model = LMTask.build_model(argparse.Namespace(**config))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0)  # far from uniform, so that hypotheses differ
    torch.save(model.state_dict(), directory / "valid.loss.ave.pth")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe's directory in which the line has run."""
    folder = tmp_path_factory.mktemp("asr1")
    write_experiment(folder / "exp" / "asr", decoder="transformer", sharpness=25.0)
    config = yaml.safe_load((folder / "exp" / "asr" / "config.yaml").read_text())
    write_lm(folder / "exp" / "lm", config["token_list"])
    generator = np.random.default_rng(4)
    for name in ("conf", "data"):
        (folder / name).mkdir()
    lines = []
    for i, size in enumerate((9000, 0, 7000, 12000)):
        path = folder / "data" / f"{i}.wav"
        soundfile.write(path, generator.normal(0, 0.1, size), 16000)
        lines.append(f"utt{i} {path}\n")
    (folder / "data" / "wav.scp").write_text("".join(lines))
    (folder / "conf" / "k2.yaml").write_text(yaml.safe_dump(K2_CONFIG))
    environment = {
        **os.environ,
        "python": f"{sys.executable} -m espnet_plugin",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-c", ASR_SH], cwd=folder, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "attention_rescoring" in (folder / OUTPUT / "rtf.json").read_text()
    return folder


OUTPUT = Path("exp/asr/decode/logdir/output.1")


def table(recipe: Path, file: str) -> Dict[str, str]:
    lines = (recipe / OUTPUT / "1best_recog" / file).read_text(encoding="utf-8").splitlines()
    return {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in lines}


def test_files_are_those_that_the_scoring_expects(recipe: Path) -> None:
    found = {file: table(recipe, file) for file in ("text", "token", "token_int", "score")}
    assert all(list(rows) == [f"utt{i}" for i in range(4)] for rows in found.values())
    tokens = yaml.safe_load((recipe / "exp/asr/config.yaml").read_text())["token_list"]
    for name, numbers in found["token_int"].items():
        assert found["token"][name] == " ".join(tokens[int(i)] for i in numbers.split())
        assert found["text"][name].replace(" ", "") == (
            found["token"][name].replace("▁", "").replace(" ", "")
        )
    assert found["text"]["utt1"] == "" and found["score"]["utt1"] == "0.0"
    assert json.loads((recipe / OUTPUT / "rtf.json").read_text())["rescoring_seconds"] > 0


def espnets(recipe: Path) -> Any:
    from espnet2.bin.asr_inference_k2 import k2Speech2Text

    decoder = k2Speech2Text(
        asr_train_config=str(recipe / "exp/asr/config.yaml"),
        asr_model_file=str(recipe / "exp/asr/valid.loss.ave.pth"),
        lm_train_config=str(recipe / "exp/lm/config.yaml"),
        lm_file=str(recipe / "exp/lm/valid.loss.ave.pth"),
        use_nbest_rescoring=True,
        num_paths=500,
        nll_batch_size=20,
        **K2_CONFIG,
    )
    decoder.lm.eval()  # ESPnet leaves it in training mode: its scores change from run to run
    return decoder


def test_hypotheses_are_espnets_or_better_ones(recipe: Path) -> None:
    """ESPnet draws 500 paths at random; ours are all there are, so the best is among them."""
    from espnet_plugin.decode import iter_lattices
    from espnet_plugin.decode.rescore import nbest_paths

    decoder = espnets(recipe)
    equal, sizes = [], {}
    for name, lattice in iter_lattices(recipe / OUTPUT / "lattices"):
        sizes[name] = len(nbest_paths(lattice, 500)[0])
    assert set(sizes) == {"utt0", "utt2", "utt3"}
    assert all(1 < size < 500 for size in sizes.values()), sizes
    for name in sizes:
        speech = soundfile.read(recipe / "data" / f"{name[3:]}.wav", dtype="float32")[0]
        batch = {"speech": speech[None], "speech_lengths": np.array([len(speech)])}
        _, _, token_int, score = decoder(batch)[0]
        ours = float(table(recipe, "score")[name])
        assert ours > score - 2e-3
        if [int(i) for i in table(recipe, "token_int")[name].split()] == token_int:
            assert ours == pytest.approx(score, abs=2e-3)
            equal.append(name)
        else:
            assert ours > score + 2e-3
    assert equal  # so the sums of scores are the same ones
