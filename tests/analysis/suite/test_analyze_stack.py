"""analyze and plan on an ASR model whose encoder is a stack from raw audio, edited or not."""

from __future__ import annotations

import json

import pytest
import torch
from real_speech import shortest_recordings

from espnet_plugin.analysis.attention import MEASURES, measure
from espnet_plugin.analysis.maps.attention_report import load_report
from espnet_plugin.analysis.suite.measure import Context
from espnet_plugin.analysis.suite.registry import make_measures
from espnet_plugin.analysis.suite.run import Pass
from espnet_plugin.analysis.suite.subject import Subject
from espnet_plugin.bin import analyze, plan
from espnet_plugin.stacks.asr import stack_of, write_experiment
from espnet_plugin.stacks.batches import iter_batches
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.untrained import create_untrained
from espnet_plugin.surgery.actions import Drop, Mimic, PruneHeads, ReuseAttention
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, StackDescription

LAYOUT = {
    "conv_layers": [[8, 10, 5], [8, 8, 4], [8, 8, 4], [8, 4, 4]],
    "width": 16,
    "blocks": 4,
    "heads": 2,
    "feed_forward": 24,
    "pos_kernel": 8,
    "pos_groups": 2,
}
CONFIG = {
    "encoder": "pruned_stack",
    "encoder_conf": {"stack": {"config": LAYOUT}},
    "model_conf": {"ctc_weight": 1.0},
    "input_size": 1,
    **dict.fromkeys(("frontend", "normalize", "specaug")),
}


@pytest.fixture(scope="module")
def exp_dir(tmp_path_factory):
    tokens = ["<blank>", "<unk>", "<sos/eos>"]
    return create_untrained(tmp_path_factory.mktemp("exp") / "asr", CONFIG, tokens)


@pytest.fixture(scope="module")
def data_dir(librispeech_root, tmp_path_factory):
    return shortest_recordings(librispeech_root, tmp_path_factory.mktemp("data"), 3)


def edited(exp_dir, *actions):
    experiment = load_experiment(exp_dir)
    description = StackDescription("wav2vec2", 4)
    return experiment, apply_plan(stack_of(experiment), BlockPlan(description, tuple(actions)))


@torch.no_grad()
def test_the_measures_of_an_edited_stack(exp_dir, data_dir, tmp_path):
    actions = (Drop(0), ReuseAttention(2, 1), PruneHeads(3, (1,)))
    experiment, stack = edited(exp_dir, *actions)
    write_experiment(experiment, stack, tmp_path / "edited")
    options = ["--model", str(tmp_path / "edited"), "--data", str(data_dir)]
    options += ["--out", str(tmp_path / "out"), "--measures", "map_similarity", "attention"]
    analyze.main(options)
    report = load_report(tmp_path / "out" / "attention.json")
    similarity = json.loads((tmp_path / "out" / "map_similarity.json").read_text())
    assert similarity["similarity"] is report["similarity"] is None
    assert similarity["reason"] == "blocks have different numbers of heads: [1, 2]"
    assert report["groups"] == [[0, 1], [2]]
    assert (report["model"]["blocks"], report["model"]["family"]) == (3, "wav2vec2")
    assert [len(block["heads"]) for block in report["blocks"]] == [2, 2, 1]
    values = [[] for _ in range(3)]

    def look(place, maps, lengths):
        values[place].append(torch.stack(measure(maps, lengths), -1))

    with attention_maps(stack, look):
        for _, speech, lengths in iter_batches(data_dir, 30.0):
            stack.output(speech, lengths)
    for block, wanted in zip(report["blocks"], values, strict=True):
        got = torch.tensor([[head[m] for m in MEASURES] for head in block["heads"]]).double()
        torch.testing.assert_close(got, torch.cat(wanted).mean(0), rtol=0, atol=1e-5)


def test_a_plan_for_a_stack_names_its_family(exp_dir, data_dir, tmp_path):
    analyze.main(
        ["--model", str(exp_dir), "--data", str(data_dir), "--out", str(tmp_path)]
        + ["--measures", "attention"]
    )
    out = tmp_path / "plan.yaml"
    options = ["--analysis", str(tmp_path / "attention.json"), "--group_size", "2"]
    plan.main([*options, "--out", str(out)])
    proposed = BlockPlan.load(out)
    assert proposed.stack.family == "wav2vec2"
    assert proposed.reuse_groups() == [[0, 1], [2, 3]]
    apply_plan(stack_of(load_experiment(exp_dir)), proposed)


@torch.no_grad()
def test_a_mimic_has_no_map(exp_dir, data_dir):
    _, stack = edited(exp_dir, Mimic((1, 2), 8, 2))
    subject = Subject("mimic", stack)
    assert (subject.groups, subject.heads, subject.blocks) == ([[0], [2]], [2, 0, 2], 3)
    measures = make_measures(["attention", "map_similarity"], Context(subject, str(data_dir)))
    run = Pass(subject, measures, 16000)
    for batch in iter_batches(data_dir, 30.0):
        run.update(batch)
    attention, similarity = (measure.result() for measure in measures)
    assert [len(block["heads"]) for block in attention["blocks"]] == [2, 0, 2]
    matrix = similarity["similarity"]
    assert matrix[1] == [None] * 3 and matrix[0][1] is None and 0 < matrix[0][2] < 1
    assert (matrix[0][0], matrix[2][2]) == (1.0, 1.0)


def test_a_stack_without_maps_says_so(exp_dir):
    _, stack = edited(exp_dir, Mimic((0, 3), 8, 2))
    names = ["attention", "map_similarity", "patterns"]
    measures = make_measures(names, Context(Subject("mimic", stack), ""))
    attention, similarity, patterns = (measure.result() for measure in measures)
    assert attention["blocks"] == [{"block": 0, "shares_map_of": None, "heads": []}]
    assert similarity["reason"] == "no block has an attention map"
    assert patterns["blocks"] == []
