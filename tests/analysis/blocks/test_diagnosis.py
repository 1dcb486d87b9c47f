"""Patterns of blocks, and which of them are abnormal."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from real_speech import shortest_recordings

from espnet_plugin.analysis.blocks.block_pattern import Pattern, Patterns, label_of, scores
from espnet_plugin.analysis.blocks.diagnosis import diagnose, running_median
from espnet_plugin.analysis.suite.run import Pass
from espnet_plugin.analysis.suite.subject import load_subject
from espnet_plugin.bin import analyze, plan
from espnet_plugin.bin import diagnose as command
from espnet_plugin.stacks.batches import list_utterances, plan_batches, read_batch
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.actions import Drop
from espnet_plugin.surgery.plan import BlockPlan

FRAMES = 40


def banded(width: float, generator: torch.Generator) -> torch.Tensor:
    place = torch.arange(FRAMES, dtype=torch.float64)
    logits = -(((place[:, None] - place) / width) ** 2)
    noise = torch.randn(FRAMES, FRAMES, generator=generator, dtype=torch.float64)
    return torch.softmax(logits + 0.3 * noise, -1)


def pattern(values) -> Pattern:
    values = tuple(float(value) for value in values)
    return Pattern(values, tuple((value, value) for value in values), label_of(values))


def test_pure_patterns():
    uniform = torch.full((FRAMES, FRAMES), 1 / FRAMES, dtype=torch.float64)
    column = torch.zeros_like(uniform)
    column[:, 13] = 1
    maps = torch.stack([uniform, column, torch.eye(FRAMES, dtype=torch.float64)])[None]
    found = scores(maps, torch.tensor([FRAMES]))[0]
    for kind, name in enumerate(("global", "vertical", "diagonal")):
        assert found[kind, kind] == pytest.approx(1, abs=1e-9)
        assert label_of(found[kind].numpy()) == name
    assert found[0, 1:].tolist() == pytest.approx([0, 1 - (FRAMES + 1) / FRAMES], abs=1e-9)
    assert found[2, :2].tolist() == pytest.approx([0, 0], abs=1e-9)
    assert label_of([0.5, 0.45, 0.1]) == "mixed"


def test_planted_blocks_are_found_and_clean_stacks_have_none():
    generator = torch.Generator().manual_seed(0)
    place = torch.arange(FRAMES)
    planted = found = wrong = 0
    for trial in range(64):
        blocks = 6 + trial % 19
        widths = torch.linspace(1.0, 3.0, blocks) * (0.9 + 0.2 * torch.rand(blocks))
        maps = torch.stack([banded(float(width), generator) for width in widths])
        where = int(torch.randint(blocks, (1,), generator=generator))
        kind = trial % 4  # 0: clean
        if kind == 1:
            maps[where] = 1 / FRAMES
        elif kind == 2:
            maps[where] = (place == trial % FRAMES).double().expand(FRAMES, FRAMES)
        elif kind == 3:
            maps[where] = 0.9 / FRAMES + 0.1 * maps[where]
        values = scores(maps[None], torch.tensor([FRAMES]))[0]
        flagged = diagnose({n: pattern(v) for n, v in enumerate(values)}).abnormal
        planted += kind > 0
        found += kind > 0 and where in flagged
        wrong += len(set(flagged) - ({where} if kind else set()))
    assert planted == 48 and found == planted and wrong == 0


def test_what_a_flag_says():
    values = [[0.2, 0.0, 0.8]] * 5 + [[1.0, 0.0, 0.0]] + [[0.2, 0.0, 0.8]] * 2
    found = diagnose({2 * n: pattern(v) for n, v in enumerate(values)})
    assert [(f.block, f.rule) for f in found.flags] == [
        (10, "trend:global"),
        (10, "pure:global"),
        (10, "trend:diagonal"),
    ]
    assert found.flags[0].figures == "global 1.000, its neighbours' median 0.200, margin 0.600"
    assert found.flags[1].figures == (
        "1 - global 0.0001, its neighbours' median 0.8000: 8000 times as near, margin 10 times"
    )
    assert found.abnormal == [10] and found.deviation[10] == pytest.approx(np.log10(8000))
    assert found.most_deviating(2) == [0, 10]
    by_label = diagnose({n: pattern(v) for n, v in enumerate(values)}, labels=["diagonal"])
    assert by_label.abnormal == list(range(8))
    with pytest.raises(ValueError, match="unknown label 'upright'"):
        diagnose({n: pattern(v) for n, v in enumerate(values)}, labels=["upright"])
    with pytest.raises(ValueError, match="too few"):
        diagnose({n: pattern(values[0]) for n in range(2)})


def test_a_uniform_block_among_global_ones_is_found_by_how_pure_it_is():
    values = [[0.90, 0.05, 0.1], [0.93, 0.03, 0.0], [1.0, 0.0, 0.0], [0.95, 0.02, 0.0]] * 2
    values[6] = [0.85, 0.1, 0.2]
    found = diagnose({n: pattern(v) for n, v in enumerate(values)})
    assert [(flag.block, flag.rule) for flag in found.flags] == [(2, "pure:global")]
    assert diagnose({n: pattern(v) for n, v in enumerate(values)}, decades=4.0).flags == []


def test_two_abnormal_blocks_at_the_end_of_a_short_stack_are_found():
    values = [[0.0, 0.9, 0.0]] * 2 + [[0.8, 0.05, 0.2]] * 4
    assert diagnose({n: pattern(v) for n, v in enumerate(values)}).abnormal == [0, 1]
    assert diagnose({n: pattern(v) for n, v in enumerate(values[::-1])}).abnormal == [4, 5]


def test_running_median():
    values = np.array([[1.0], [9.0], [2.0], [3.0], [4.0]])
    assert running_median(values, 3)[:, 0].tolist() == [2.0, 2.0, 3.0, 3.0, 3.0]
    assert running_median(values, 5)[:, 0].tolist() == [3.0] * 5
    assert running_median(values[:4], 7)[:, 0].tolist() == [2.5] * 4
    with pytest.raises(ValueError, match="odd"):
        running_median(values, 4)


@pytest.fixture(scope="module")
def data_dir(librispeech_root, tmp_path_factory):
    return shortest_recordings(librispeech_root, tmp_path_factory.mktemp("data"), 4)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    layers = ((8, 10, 5), (8, 8, 4), (8, 8, 4), (8, 4, 4))
    layout: dict[str, Any] = {"width": 16, "blocks": 4, "heads": 2, "feed_forward": 24}
    layout["feature_norm"] = "layer"  # a padded batch is to be as its utterances alone
    config = Wav2Vec2Config(conv_layers=layers, pos_kernel=8, pos_groups=2, **layout)
    path, stack = tmp_path_factory.mktemp("model") / "stack.pt", Wav2Vec2Stack(config)
    for block in stack.blocks:
        torch.nn.init.normal_(block.attention.query.weight)
        torch.nn.init.normal_(block.attention.key.weight)
    stack.save(path)
    return path


def test_patterns_of_a_stack_are_those_of_its_averaged_maps(model, data_dir):
    subject = load_subject(model)
    stack = subject.stack
    utterances = list_utterances(data_dir)
    done, parts = Patterns(subject.leaders), [Patterns(subject.leaders) for _ in range(2)]
    Pass(subject, [done], 16000).update(read_batch(utterances))
    for n, utterance in enumerate(utterances):
        Pass(subject, [parts[n % 2]], 16000).update(read_batch([utterance]))
    parts[0].merge(parts[1])
    names, values = done.values()
    assert names == sorted(u.utt_id for u in utterances)
    np.testing.assert_allclose(parts[0].values()[1], values, rtol=0, atol=1e-5)

    naive = {}
    with torch.no_grad():
        for utterance in utterances:
            _, speech, lengths = read_batch([utterance])

            def look(place, maps, valid, name=utterance.utt_id):
                mean = maps[0].double().mean(0)
                frames = len(mean)
                row = mean.mean(0)
                apart = (torch.arange(frames)[:, None] - torch.arange(frames)).abs()
                naive[name, place] = (
                    float(torch.special.entr(mean).sum() / frames / math.log(frames)),
                    float(1 - torch.special.entr(row).sum() / math.log(frames)),
                    float(3 * (1 - (mean * apart).sum() / frames / (frames - 1)) - 2),
                )

            with attention_maps(stack, look):
                stack.output(speech, lengths)
    wanted = [[naive[name, place] for place in done.blocks] for name in names]
    np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-5)
    for place, found in done.patterns().items():
        np.testing.assert_allclose(found.scores, np.mean([w[place] for w in wanted], 0), atol=1e-5)
        for score, (low, high) in zip(found.scores, found.intervals, strict=True):
            assert low <= score <= high
    with pytest.raises(ValueError, match="measured before"):
        Pass(subject, [done], 16000).update(read_batch(utterances[:1]))
    with pytest.raises(ValueError, match="measured before"):
        done.merge(parts[1])


def test_the_command(model, data_dir, tmp_path, capsys):
    out = tmp_path / "diagnosis.json"
    options = ["--model", model, "--data", data_dir, "--out", out, "--at_least", 2]
    command.main([str(option) for option in options])
    found = json.loads(out.read_text())
    assert len(found["blocks"]) == found["stack_blocks"] == 4
    assert len(found["candidates"]) >= 2 and found["data"]["utterances"] == 4
    assert "| 3 | " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="diagnose: unknown label 'x'"):
        command.main([str(option) for option in [*options, "--labels", "x"]])
    with pytest.raises(SystemExit, match="diagnose: --model needs --data"):
        command.main(["--model", str(model), "--out", str(out)])


def test_the_command_reads_what_the_suite_measured(model, data_dir, tmp_path):
    options = ["--model", model, "--data", data_dir, "--out", tmp_path]
    analyze.main([str(o) for o in [*options, "--measures", "patterns"]])
    more = ["--at_least", "1", "--out"]
    command.main(["--analysis", str(tmp_path), *more, str(tmp_path / "one.json")])
    command.main([str(o) for o in [*options[:-2], *more, tmp_path / "two.json"]])
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one == two and one["family"] == "wav2vec2" and len(one["blocks"]) == 4
    plan.main(["--diagnosis", str(tmp_path / "one.json"), "--arms", str(tmp_path)])
    dropped = BlockPlan.load(tmp_path / "drop.yaml").actions
    assert dropped == tuple(Drop(block) for block in one["candidates"]) and dropped
    with pytest.raises(SystemExit, match="patterns.json: not there; analyze with --measures"):
        command.main(["--analysis", str(data_dir), "--out", str(tmp_path / "no.json")])
    (tmp_path / "patterns.json").write_text('{"schema": "espnet_plugin/attention/2"}')
    with pytest.raises(SystemExit, match="patterns.json: holds no patterns of .* schema 'esp"):
        command.main(["--analysis", str(tmp_path), "--out", str(tmp_path / "no.json")])


def test_an_utterance_of_one_frame_has_no_pattern(model, data_dir):
    subject = load_subject(model)
    done = Patterns(subject.leaders)
    run = Pass(subject, [done], 16000)
    shortest = subject.stack.frontend.shortest
    run.update((["short"], torch.randn(1, shortest), torch.tensor([shortest])))
    with pytest.raises(ValueError, match="no utterance of two frames"):
        done.result()
    for batch in plan_batches(list_utterances(data_dir), 30.0):
        run.update(read_batch(batch))
    assert len(done.values()[0]) == 4 and run.utterances == 5
