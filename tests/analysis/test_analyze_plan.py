"""The commands analyze and plan, on real speech and a small untrained model."""

from __future__ import annotations

import json
import re

import pytest
import torch

from espnet_plugin.analysis.attention import MEASURES, measure
from espnet_plugin.analysis.attention_report import SCHEMA, AnalysisError, load_report
from espnet_plugin.analysis.propose import propose_reuse
from espnet_plugin.analysis.run import AttentionPass, example_maps, map_groups
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
    paths = sorted((librispeech_root / "test-other").rglob("*.flac"))
    paths = sorted(paths, key=lambda p: p.stat().st_size)[:5]
    directory = tmp_path_factory.mktemp("data")
    (directory / "wav.scp").write_text("".join(f"{p.stem} {p}\n" for p in paths))
    return directory


@pytest.fixture(scope="module")
def analysed(exp_dir, data_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "analysis"
    analyze.main(
        ["--exp_dir", str(exp_dir), "--data_dir", str(data_dir), "--out", str(out)]
        + ["--batch_seconds", "12", "--num_threads", "1"]
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


def test_figures_are_pictures(analysed):
    names = sorted(p.name for p in analysed.iterdir())
    assert names == ["attention.json", "maps.png", "measures.png", "similarity.png"]
    for name in names[1:]:
        head = (analysed / name).read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(head[16:20], "big") > 500  # pixels wide


def test_shards_merge_to_the_same_bits(exp_dir, data_dir):
    model = load_experiment(exp_dir).model
    batches = list(iter_batches(data_dir, 6.0))
    whole = AttentionPass(model)
    whole.measure_all(batches)
    parts = [AttentionPass(model) for _ in range(2)]
    for n, part in enumerate(parts):
        part.measure_all(batches[n::2])
    parts[1].measures.merge(parts[0].measures)
    parts[1].similarity.merge(parts[0].similarity)
    assert parts[1].similarity_matrix() == whole.similarity_matrix()
    one, two = whole.measures.result(), parts[1].measures.result()
    assert all(torch.equal(one[b][m], two[b][m]) for b in one for m in MEASURES)
    assert whole.frames == sum(part.frames for part in parts)


def test_the_pass_keeps_what_it_is_asked_for(exp_dir, data_dir):
    model = load_experiment(exp_dir).model
    batch = next(iter_batches(data_dir, 6.0))
    alone = AttentionPass(model, similarity=False)
    alone.update(batch)
    assert alone.measures.blocks == [0, 1, 3] and map_groups(model.encoder) == alone.groups
    with pytest.raises(ValueError, match="was not measured"):
        alone.similarity_matrix()
    maps = example_maps(model, batch)
    assert len(maps) == 4 and torch.equal(maps[1], maps[2])
    assert all(torch.allclose(m.sum(-1), torch.ones(()), atol=1e-5) for m in maps)
    names, speech, lengths = batch
    with pytest.raises(ValueError, match=f"{names[0]}.*too short"):
        alone.update((names, speech[:, :600], lengths.clamp(max=600)))


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


def test_without_similarity_only_sizes_are_possible(analysed):
    report = {**load_report(analysed / "attention.json"), "similarity": None}
    assert propose_reuse(report, group_size=2).reuse_groups() == [[0, 1], [2, 3]]
    with pytest.raises(AnalysisError, match="no similarity of maps"):
        propose_reuse(report, theta=0.5)


def test_files_that_are_no_analysis_are_refused(tmp_path):
    path = tmp_path / "attention.json"
    with pytest.raises(AnalysisError, match="cannot read the analysis"):
        load_report(path)
    for text, message in (("{", "not JSON"), ("[]", "schema"), ('{"schema": "x/2"}', "schema")):
        path.write_text(text)
        with pytest.raises(AnalysisError, match=message):
            load_report(path)


def test_analyze_says_in_one_line_what_is_wrong(exp_dir, data_dir, tmp_path, tmp_path_factory):
    base = ["--out", str(tmp_path), "--num_threads", "1"]
    config = {**CONFIG, "frontend_conf": {"fs": "8k"}}
    narrow = create_untrained(tmp_path_factory.mktemp("narrow"), config, ["<blank>", "<sos/eos>"])
    for options, message in (
        (["--exp_dir", str(narrow), "--data_dir", str(data_dir)], "has 16000 samples/s, not 8000"),
        (["--exp_dir", str(tmp_path), "--data_dir", str(data_dir)], "config.yaml: not there"),
        (["--exp_dir", str(exp_dir), "--data_dir", str(tmp_path)], "wav.scp: not there"),
        (
            ["--exp_dir", str(exp_dir), "--data_dir", str(data_dir), "--utt_id", "nobody"],
            "no utterance nobody",
        ),
    ):
        with pytest.raises(SystemExit, match=message):
            analyze.main(base + options)
    assert json.dumps(list(tmp_path.iterdir())) == "[]"
