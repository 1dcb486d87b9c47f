"""The benchmarks of the analysis at base size, on a small stack."""

from __future__ import annotations

import pytest
import torch

from espnet_plugin.analysis.suite.subject import Subject
from espnet_plugin.stacks.batches import plan_batches
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack


def test_each_arm_sees_the_real_recordings(librispeech_root, monkeypatch):
    import analysis_base as base

    monkeypatch.setattr(base, "DATA", librispeech_root.parent)
    recordings = base.recordings(3)
    assert len(recordings) == 3 and len(base.recordings()) == 50
    assert recordings[0].samples == max(u.samples for u in base.recordings())
    config = Wav2Vec2Config(
        width=16, blocks=2, heads=2, feed_forward=16, pos_kernel=4, pos_groups=2,
        conv_layers=((8, 320, 320),),
    )  # fmt: skip
    subject = Subject("small", Wav2Vec2Stack(config).eval())
    found = base.seconds(subject, plan_batches(recordings, 60.0), 2, [3], iter(range(99)).__next__)
    assert {name: len(values) for name, values in found.items()} == {
        "forward": 2, "attention": 2, "similarity": 2,
    }  # fmt: skip


def test_torch_cka_and_ours_agree_where_both_are_right():
    import cka_peer as peer

    pytest.importorskip("torch_cka", reason="torch_cka is not installed: pip install torch_cka")
    generator = torch.Generator().manual_seed(0)
    pieces = []
    for count in (30, 41):
        x = [torch.randn(count, 8, generator=generator)]
        for _ in range(2):
            x.append(x[-1] + 0.6 * torch.randn(count, 8, generator=generator))
        pieces.append(torch.stack(x, 1))
    right = peer.exact(pieces)
    assert torch.allclose(peer.theirs(pieces).double(), right, atol=1e-4)
    assert torch.allclose(peer.ours(pieces).result()["linear_cka"], right, atol=1e-12)
    cases = peer.edge_cases()
    for count in (1, 2, 3):
        assert "Error" in cases[f"{count} samples"]["torch_cka"]
        assert "no piece of 4" in cases[f"{count} samples"]["ours"] or count == 1
    assert "ZeroDivisionError" in cases["3 samples among 40"]["torch_cka"]
    assert cases["3 samples among 40"]["ours"].startswith("[[1.0, 0.9")
    for value in (0.1, 1.0):
        assert "state 1 is the same in all" in cases[f"a state of {value} alone"]["ours"]
    assert "NANs" in cases["a state of 1.0 alone"]["torch_cka"]
