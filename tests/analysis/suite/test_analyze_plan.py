"""The commands analyze and plan, on real speech and a small untrained model."""

from __future__ import annotations

import re

import pytest
import torch
from real_speech import shortest_recordings

from espnet_plugin.analysis.attention import MEASURES, measure
from espnet_plugin.analysis.maps.attention_report import SCHEMA, AnalysisError, load_report
from espnet_plugin.analysis.maps.propose import propose_reuse
from espnet_plugin.analysis.suite.measure import Context
from espnet_plugin.analysis.suite.registry import make_measures
from espnet_plugin.analysis.suite.run import Pass
from espnet_plugin.analysis.suite.subject import load_subject
from espnet_plugin.bin import analyze, plan
from espnet_plugin.stacks.batches import iter_batches, list_utterances
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.stacks.hooks import attention_maps
from espnet_plugin.stacks.untrained import create_untrained
from espnet_plugin.surgery.plan import BlockPlan

CONFIG = {
    "encoder": "reuse_conformer",
    "encoder_conf": {
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 16,
        "num_blocks": 4,
        "cnn_module_kernel": 3,
        "rel_pos_type": "latest",
        "reuse_groups": [[0], [1, 2], [3]],
    },
    "model_conf": {"ctc_weight": 1.0},
}


@pytest.fixture(scope="module")
def exp_dir(tmp_path_factory):
    tokens = ["<blank>", "<unk>", "<sos/eos>"]
    return create_untrained(tmp_path_factory.mktemp("exp") / "asr", CONFIG, tokens)


@pytest.fixture(scope="module")
def data_dir(librispeech_root, tmp_path_factory):
    return shortest_recordings(librispeech_root, tmp_path_factory.mktemp("data"), 5)


@pytest.fixture(scope="module")
def analysed(exp_dir, data_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "analysis"
    analyze.main(
        ["--model", str(exp_dir), "--data", str(data_dir), "--out", str(out)]
        + ["--measures", "attention", "map_similarity", "--batch_seconds", "12"]
    )
    return out


def test_figures_of_the_file_are_the_means_over_utterances(exp_dir, data_dir, analysed):
    report = load_report(analysed / "attention.json")
    model = load_experiment(exp_dir).model
    values = {block: [] for block in range(4)}

    def look(block, maps, lengths):
        values[block].append(torch.stack(measure(maps, lengths), -1))

    with torch.no_grad(), attention_maps(model.encoder, look):
        for _, speech, lengths in iter_batches(data_dir, 12.0):
            model.encode(speech, lengths)
    assert report["data"]["utterances"] == 5
    assert [b["shares_map_of"] for b in report["blocks"]] == [None, None, 1, None]
    for block in report["blocks"]:
        wanted = torch.cat(values[block["block"]]).mean(0)
        got = torch.tensor([[head[m] for m in MEASURES] for head in block["heads"]]).double()
        assert torch.allclose(got, wanted, rtol=0, atol=1e-6)
        assert {head["category"] for head in block["heads"]} <= {"diagonal", "vertical", "global"}
    assert report["blocks"][1]["heads"] == report["blocks"][2]["heads"]


def test_the_file_says_where_it_comes_from(exp_dir, data_dir, analysed):
    report = load_report(analysed / "attention.json")
    assert report["schema"] == SCHEMA and report["groups"] == [[0], [1, 2], [3]]
    assert report["model"]["directory"] == str(exp_dir)
    assert report["model"]["encoder"] == "reuse_conformer" and report["model"]["blocks"] == 4
    seconds = sum(u.seconds for u in list_utterances(data_dir))
    assert report["data"]["seconds"] == pytest.approx(seconds)
    assert report["environment"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {s["mark"] for s in report["sources"].values()} == {"P", "I"}
    matrix = torch.tensor(report["similarity"])
    assert matrix.shape == (4, 4) and torch.equal(matrix, matrix.T)
    assert matrix.diagonal().tolist() == [1.0] * 4 and matrix[1, 2] == 1.0
    assert 0 < matrix.min() < 1


def test_the_pass_shows_leaders_alone_and_names_what_it_cannot_measure(exp_dir, data_dir):
    subject = load_subject(exp_dir)
    assert (subject.groups, subject.leaders) == ([[0], [1, 2], [3]], [0, 1, 3])
    (attention,) = make_measures(["attention"], Context(subject, str(data_dir)))
    run = Pass(subject, [attention], 16000)
    names, speech, lengths = next(iter_batches(data_dir, 6.0))
    run.update((names, speech, lengths))
    assert attention.sums.blocks == [0, 1, 3] and run.utterances == len(names)
    with pytest.raises(ValueError, match=f"{names[0]}.*too short"):
        run.update((names, speech[:, :600], lengths.clamp(max=600)))


def run_plan(analysed, out, *options):
    plan.main(["--analysis", str(analysed / "attention.json"), "--out", str(out), *options])
    return BlockPlan.load(out)


def test_plan_by_theta_size_and_number(analysed, tmp_path):
    for options, groups in (
        (["--theta", "0"], [[0, 1, 2, 3]]),
        (["--theta", "1"], [[0], [1, 2], [3]]),
        (["--group_size", "3"], [[0, 1, 2], [3]]),
        (["--num_groups", "3"], [[0], [1, 2], [3]]),
        (["--min_group", "4"], [[0, 1, 2, 3]]),
    ):
        made = run_plan(analysed, tmp_path / "plan.yaml", *options)
        assert made.reuse_groups() == groups
        assert len(made.because) == len(made.actions)
        for action, reason in zip(made.actions, made.because, strict=True):
            assert re.match(
                rf"block {action.block} reuses {action.leader}: .* [01]\.\d{{3}}, .* \[I\]", reason
            )


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "give one of theta"),
        (["--theta", "0.5", "--group_size", "2"], "give one of theta"),
        (["--theta", "1.5"], "theta must be from 0 to 1"),
        (["--group_size", "0"], "at least one block"),
        (["--num_groups", "5"], "4 blocks cannot be in 5 groups"),
        (["--min_group", "5"], "4 blocks cannot be in groups"),
    ],
)
def test_plans_that_cannot_be_are_refused(analysed, tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        run_plan(analysed, tmp_path / "plan.yaml", *options)
    assert not (tmp_path / "plan.yaml").exists()


def test_blocks_without_maps_are_not_reused(analysed):
    report = load_report(analysed / "attention.json")
    report["similarity"][2] = [None] * 4
    with pytest.raises(AnalysisError, match="blocks 2 have no attention map"):
        propose_reuse(report, theta=0.5)


def test_without_similarity_only_sizes_are_possible(analysed):
    report = {**load_report(analysed / "attention.json"), "similarity": None}
    assert propose_reuse(report, group_size=2).reuse_groups() == [[0, 1], [2, 3]]
    with pytest.raises(AnalysisError, match="no similarity of maps"):
        propose_reuse(report, theta=0.5)


def test_files_that_are_no_analysis_are_refused(tmp_path):
    path = tmp_path / "attention.json"
    with pytest.raises(AnalysisError, match="attention.json: not there; measure it with"):
        load_report(path)
    for text, message in (("{", "not JSON"), ("[]", "schema"), ('{"schema": "x/2"}', "schema")):
        path.write_text(text)
        with pytest.raises(AnalysisError, match=message):
            load_report(path)
