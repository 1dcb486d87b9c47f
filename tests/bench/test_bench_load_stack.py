"""The benchmark of load_stack measures both ways on a file of one's own, or of fairseq's."""

from __future__ import annotations

import json

import pytest

from espnet_plugin.stacks import load_stack as load
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack


def test_a_file_of_ones_own(tmp_path, capsys):
    import load_stack

    Wav2Vec2Stack(Wav2Vec2Config(blocks=2)).save(tmp_path / "stack.pt")
    load_stack.main(["--checkpoint", str(tmp_path / "stack.pt"), "--rounds", "2"])
    result = json.loads(capsys.readouterr().out)
    assert result["time_ratio"] > 0 and result["form"] == "stack.pt"
    peaks = result["peak_of_model_size"]
    assert peaks.keys() == {"load_stack", "torch_load"} and min(peaks.values()) > 0.5


def test_the_checkpoint_is_base_size(tmp_path):
    pytest.importorskip("fairseq", reason="fairseq is not installed: nothing writes checkpoints")
    import load_stack

    load_stack.write_base(tmp_path / "base.pt", adam=False, old=True)
    stack = load(tmp_path / "base.pt")
    assert (len(stack.blocks), stack.width) == (12, 768)
    assert sum(p.numel() for p in stack.parameters()) == 94_371_712
