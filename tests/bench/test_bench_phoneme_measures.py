"""The benchmark of the phoneme measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def test_ratios_to_the_forward_pass(tmp_path: Path, data_root: Path, capsys: Any) -> None:
    import phoneme_measures

    from espnet_plugin.stacks.untrained import create_untrained

    grids = data_root / "alignments" / "train-clean-100"
    if not grids.is_dir():
        pytest.skip(f"no TextGrids in {grids}")
    conf = {"output_size": 16, "attention_heads": 2, "linear_units": 16, "num_blocks": 2}
    conf = {**conf, "cnn_module_kernel": 3, "rel_pos_type": "latest"}
    config = {"encoder": "conformer", "encoder_conf": conf, "model_conf": {"ctc_weight": 1.0}}
    exp = create_untrained(tmp_path / "exp", config, ["<blank>", "<unk>", "<sos/eos>"])
    name = "4088-158077-0015"
    audio = next((data_root / "LibriSpeech" / "train-clean-100").rglob(f"{name}.flac"))
    (tmp_path / "wav.scp").write_text(f"{name} {audio}\n")
    phoneme_measures.main(
        ["--model", str(exp), "--data", str(tmp_path), "--alignments", str(grids), "--rounds", "1"]
        + ["--output", str(tmp_path / "out.json")]
    )
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["utterances"], result["blocks"], result["heads"]) == (1, 2, 2)
    assert result["ratio"]["forward"] == 1.0
    assert set(result["ratio"]) == {"forward", "attention", "relation", "phoneme_attention"}
    assert all(ratio > 0 for ratio in result["ratio"].values())
    assert json.loads((tmp_path / "out.json").read_text())["ratio"] == result["ratio"]
