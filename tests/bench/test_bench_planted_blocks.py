"""Planted abnormal blocks are found in a small model that was trained on real speech."""

from __future__ import annotations

import json
import random

import pytest
import torch
from torch.nn.functional import cross_entropy

from espnet_plugin.analysis.phonemes.frames import clock_of
from espnet_plugin.analysis.phonemes.labels import PhoneLabels
from espnet_plugin.stacks.batches import list_utterances, read_batch
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack

LAYERS = ((16, 10, 5), (16, 8, 8), (32, 4, 4), (32, 4, 4))  # 40 ms a frame
LAYOUT = dict(width=32, blocks=6, heads=4, feed_forward=64, pos_kernel=16, pos_groups=4)


@pytest.fixture(scope="module")
def data(data_root, tmp_path_factory):
    """Eight short utterances of train-clean-100, with their alignments."""
    labels = PhoneLabels.from_textgrids(data_root / "alignments")
    paths = sorted((data_root / "LibriSpeech" / "train-clean-100").rglob("*.flac"))
    paths = [p for p in sorted(paths, key=lambda p: p.stat().st_size) if p.stem in labels][:8]
    directory = tmp_path_factory.mktemp("data")
    (directory / "wav.scp").write_text("".join(f"{p.stem} {p}\n" for p in sorted(paths)))
    return directory, labels


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Blocks that learned the phones of these frames; the loss has to come down by a half."""
    directory, labels = data
    torch.manual_seed(0)
    options = {"dropout": 0.0, "input_dropout": 0.0, "attention_dropout": 0.0, "layer_drop": 0.0}
    stack = Wav2Vec2Stack(Wav2Vec2Config(conv_layers=LAYERS, **LAYOUT, **options))
    for block in stack.blocks:
        for part in (block.attention.query, block.attention.key):
            torch.nn.init.normal_(part.weight, std=0.3)
    head = torch.nn.Linear(32, len(labels.symbols))
    names, speech, lengths = read_batch(list_utterances(directory))
    with torch.no_grad():
        _, frames = stack.output(speech, lengths)
    clock = clock_of(stack)
    wanted = torch.full((len(names), int(frames.max())), -1)
    for row, name, count in zip(wanted, names, frames.tolist(), strict=True):
        row[:count] = labels.frames(name, clock, count, 16000)
    optimizer = torch.optim.Adam([*stack.parameters(), *head.parameters()], lr=3e-3)
    losses = []
    for _ in range(40):
        x, _ = stack.output(speech, lengths)
        loss = cross_entropy(head(x).transpose(1, 2), wanted, ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 2
    path = tmp_path_factory.mktemp("model") / "stack.pt"
    stack.eval().save(path)
    return path


def test_planted_blocks_of_a_trained_model_are_found(trained, data, tmp_path, capsys):
    import planted_blocks

    out = tmp_path / "out.json"
    options = ["--model", trained, "--data_dir", data[0], "--cases", 4, "--utterances", 4]
    planted_blocks.main([str(o) for o in [*options, "--output", out]])
    cases = json.loads(out.read_text())["cases"]
    assert len(cases) == 40 and sum(case["kind"] is None for case in cases) == 20
    assert sorted({len(case["planted"]) for case in cases}) == [0, 1, 2]
    sums = planted_blocks.counts(cases)
    assert sums["planted"] == 30 and sums["clean"] == 20
    assert sums["found"] >= 24 and sums["false"] <= 2 and sums["alarms"] == 0
    capsys.readouterr()
    planted_blocks.main(["--summary", str(out), str(out)])
    table = capsys.readouterr().out
    assert f"| 40 | {2 * sums['found']}/60 = " in table and "| clean | 0 |  |  | 40 | 0/40" in table


def test_what_is_planted(trained, data):
    import planted_blocks

    utterances = list_utterances(data[0])[:3]
    maps = torch.softmax(torch.randn(3, 2, 9, 9), -1)
    lengths = torch.tensor([9, 5, 1])
    draw = random.Random(0)
    for kind in ("uniform", "column", "shifted", "backwards"):
        planted = planted_blocks.plant_of(kind, draw)(maps, lengths)
        for utterance, frames in enumerate(lengths.tolist()):
            rows = planted[utterance, :, :frames]
            torch.testing.assert_close(rows.sum(-1), torch.ones(2, frames))
            assert not rows[..., frames:].any()
    five = planted_blocks.shifted(2)(maps, lengths)[1, 0, :5, :5].argmax(-1).tolist()
    assert five == [2, 3, 4, 4, 4]
    assert planted_blocks.backwards(maps, lengths)[1, 0, :5].argmax(-1).tolist() == [4, 3, 2, 1, 0]
    assert set(planted_blocks.column(0.5)(maps, lengths)[0, 0].argmax(-1).tolist()) == {4}
    stack = planted_blocks.load_stack(trained)
    _, speech, samples = read_batch(utterances)
    found = {}
    edited = planted_blocks.without_queries(stack, [2])
    with attention_maps(edited, lambda b, m, n: found.__setitem__(b, (m, n))), torch.no_grad():
        edited.output(speech, samples)
    torch.testing.assert_close(found[2][0], planted_blocks.uniform(*found[2]), atol=1e-6, rtol=0)
    assert not torch.allclose(found[1][0], planted_blocks.uniform(*found[1]), atol=1e-3)


def test_intervals_of_shares():
    import planted_blocks

    low, high = planted_blocks.wilson(9, 10)
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert planted_blocks.wilson(0, 0) == (0.0, 1.0)
