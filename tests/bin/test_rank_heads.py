"""The command, on a small model whose best refinement is planted."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from tiny_models import write_experiment

from espnet_plugin.analysis.heads.ranking import importance_orders, measured_heads
from espnet_plugin.analysis.heads.recognition import Recognition
from espnet_plugin.analysis.maps.attention_report import load_report
from espnet_plugin.analysis.suite.subject import load_subject
from espnet_plugin.analysis.sums.resample import rate
from espnet_plugin.bin import analyze, apply_plan, rank_heads
from espnet_plugin.decode.decoder import CtcDecoder
from espnet_plugin.decode.text import TokenText
from espnet_plugin.stacks.batches import list_utterances
from espnet_plugin.surgery.head_masks import masked_heads
from espnet_plugin.surgery.plan import BlockPlan


def recognition(experiment, data, texts):
    subject = load_subject(experiment)
    training = subject.experiment.args
    text = TokenText(subject.experiment.token_list, training.token_type, training.bpemodel)
    decoder = CtcDecoder(subject.experiment.model, text, "greedy")
    return Recognition(
        subject, list_utterances(data), texts, {"greedy": decoder}, batch_seconds=20.0
    )


@pytest.fixture(scope="module")
def planted(librispeech_root, tmp_path_factory):
    """A model and data whose transcripts are what it says without two of its heads."""
    folder = tmp_path_factory.mktemp("planted")
    conf = {"num_blocks": 3, "attention_heads": 4}
    experiment = write_experiment(folder / "exp", encoder_conf=conf)
    state = torch.load(experiment / "valid.loss.ave.pth")
    for name, tensor in state.items():
        if "linear_out" in name or "linear_q" in name or "linear_k" in name:
            tensor.mul_(4.0)
    torch.save(state, experiment / "valid.loss.ave.pth")
    data = folder / "data"
    data.mkdir()
    paths = sorted((librispeech_root / "test-other").rglob("*.flac"))
    paths = sorted(sorted(paths, key=lambda p: p.stat().st_size)[:4])
    (data / "wav.scp").write_text("".join(f"{p.stem} {p}\n" for p in paths))
    options = ["--model", experiment, "--data", data, "--out", folder / "analysis"]
    analyze.main([str(o) for o in [*options, "--measures", "attention"]])
    heads = measured_heads(load_report(folder / "analysis" / "attention.json"))
    chosen = importance_orders(heads)["globalness"][:2]
    done = recognition(experiment, data, dict.fromkeys((p.stem for p in paths), "x"))
    texts = {}
    with masked_heads(done.subject.encoder, chosen), torch.no_grad():
        for names, _, log_probs, lengths in done._posteriors(None):
            found, _ = done.decoders["greedy"].search(log_probs, lengths, names)
            texts.update({n: h.text for n, h in zip(names, found, strict=True)})
    assert all(text.split() for text in texts.values())
    (data / "text").write_text("".join(f"{name} {texts[name]}\n" for name in sorted(texts)))
    return folder, experiment, data, sorted(chosen), texts


def rank(folder, experiment, data, out, *more):
    options = ["--model", experiment, "--analysis", folder / "analysis", "--data", data]
    options += ["--out", out, "--random", 1, "--batch_seconds", 20, *more]
    rank_heads.main([str(option) for option in options])
    return json.loads((out / "ranking.json").read_text())


def test_a_planted_refinement_is_found_and_its_plan_gives_the_same_figure(
    planted, tmp_path, capsys
):
    folder, experiment, data, chosen, texts = planted
    report = rank(folder, experiment, data, tmp_path / "out", "--spans", 2, "--single", "false")
    assert report["schema"] == "espnet_plugin/ranking/1"
    assert set(report["unedited"]) == {"greedy", "token"}
    assert list(report["curves"]) == [*list(report["orders"])] and len(report["heads"]) == 12
    assert [p["pruned"] for p in report["curves"]["globalness"]] == [0, 2, 4, 6, 8, 10, 12]
    assert report["curves"]["globalness"][1]["measures"]["greedy"]["errors"] == 0
    assert report["unedited"]["greedy"]["errors"] > 0
    assert [c["more"] for c in report["contrasts"]] == ["diagonality", "verticality", "diagonality"]
    assert all(found["alone"] is None for found in report["categories"].values())
    assert [p["span"] for p in report["spans"]["plain"]] == [None, 2]
    found = report["refinement"]
    assert found["choice"]["refined"] == found["check"]["refined"] == 0.0
    assert found["check"]["rise"] < 0 and "heads by globalness dropped" in found["because"]
    plan = BlockPlan.load(tmp_path / "out" / found["plan"])
    assert sorted((a.block, h) for a in plan.actions for h in a.heads) == chosen
    assert plan.because == (found["because"],) * len(plan.actions)
    lines = (tmp_path / "out" / "curves.csv").read_text().splitlines()
    assert lines[0].startswith("curve,order,pruned,share,span,measure,errors,")
    assert len(lines) == 1 + 2 * (5 * 7 + 2 * 2)
    assert "| globalness |" in capsys.readouterr().out

    command = ["--model", experiment, "--plan", tmp_path / "out" / "plan.yaml"]
    apply_plan.main([str(o) for o in [*command, "--out_exp", tmp_path / "refined"]])
    errors = recognition(tmp_path / "refined", data, texts)()
    assert rate(errors["greedy"]) == found["whole"]["refined"] == 0.0
    assert sum(p.numel() for p in load_subject(tmp_path / "refined").encoder.parameters()) < sum(
        p.numel() for p in load_subject(experiment).encoder.parameters()
    )


def test_a_run_that_was_stopped_goes_on(planted, tmp_path, monkeypatch):
    folder, experiment, data, _, _ = planted
    calls, stop = [], 4

    def counted(self, edited=None, whole=Recognition.__call__):
        calls.append(edited)
        if len(calls) > stop:
            raise OSError("the machine went away")
        return whole(self, edited)

    monkeypatch.setattr(Recognition, "__call__", counted)
    options = ("--spans", 5, "--orders", "diagonality", "--parts", 3)
    with pytest.raises(SystemExit, match="rank_heads: the machine went away"):
        rank(folder, experiment, data, tmp_path / "out", *options)
    with open(tmp_path / "out" / "points.jsonl", "a") as stream:
        stream.write('{"edit": "torn')
    stop = 10**6
    report = rank(folder, experiment, data, tmp_path / "out", *options)
    resumed = len(calls) - 5
    calls.clear()
    whole = rank(folder, experiment, data, tmp_path / "whole", *options)
    assert resumed == len(calls) - 4
    for key in ("unedited", "heads", "curves", "spans", "summary", "categories", "refinement"):
        assert report[key] == whole[key]
    of_category = [h for h in report["heads"] if h["category"] == "diagonal"]
    alone = [h["alone"]["greedy"]["rise"] for h in of_category]
    told = report["categories"]["diagonal"]
    assert told["heads"] == len(alone) > 0
    assert told["alone"]["greedy"]["mean_rise"] == pytest.approx(sum(alone) / len(alone))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--plan_by", "k2"), "--plan_by k2: one of greedy, token"),
        (("--graph", "HLG.pt"), "--graph is for --capacity k2"),
        (("--orders", "size"), "unknown order 'size'"),
        (("--spans", -1), "a span is 0 frames or more, not -1"),
    ],
)
def test_wrong_options_are_named(planted, tmp_path, more, message):
    folder, experiment, data, _, _ = planted
    with pytest.raises(SystemExit, match=f"rank_heads: .*{message}"):
        rank(folder, experiment, data, tmp_path / "out", *more, "--parts", 1)


def test_what_a_speaker_probe_reads_is_counted(planted, tmp_path):
    _, experiment, _, _, _ = planted
    data = tmp_path / "data"
    data.mkdir()
    noise, lines = np.random.default_rng(0), {"wav.scp": [], "text": [], "utt2spk": []}
    for number in range(10):
        samples = (0.02 if number % 2 else 0.5) * noise.standard_normal(8000)
        soundfile.write(data / f"u{number}.wav", samples, 16000)
        lines["wav.scp"].append(f"u{number} {data}/u{number}.wav\n")
        lines["text"].append(f"u{number} the fox\n")
        lines["utt2spk"].append(f"u{number} s{number % 2}\n")
    for name, rows in lines.items():
        (data / name).write_text("".join(rows))
    options = ["--model", experiment, "--data", data, "--out", tmp_path / "analysis"]
    analyze.main([str(o) for o in [*options, "--measures", "attention", "speaker_probe"]])
    probe = json.loads((tmp_path / "analysis" / "speaker_probe.json").read_text())
    more = ("--parts", 1, "--orders", "verticality", "--spans", 1, "--single", "false")
    report = rank(tmp_path, experiment, data, tmp_path / "out", *more, "--capacity", "speaker")
    assert list(report["unedited"]) == ["speaker"]
    assert report["unedited"]["speaker"]["tokens"] == len(probe["held_out"]) == 2
    with pytest.raises(SystemExit, match="word_probe.json: not there; .*measure word_probe"):
        rank(tmp_path, experiment, data, tmp_path / "no", *more, "--capacity", "word")


def test_a_branchformer_is_ranked_and_has_no_plan(planted, tmp_path):
    _, _, data, _, _ = planted
    conf = {"output_size": 16, "attention_heads": 2, "cgmlp_linear_units": 16, "num_blocks": 2}
    exp = write_experiment(tmp_path / "exp", encoder="branchformer", encoder_conf=conf)
    options = ["--model", exp, "--data", data, "--out", tmp_path / "analysis"]
    analyze.main([str(o) for o in [*options, "--measures", "attention"]])
    more = ("--parts", 1, "--orders", "globalness", "--spans", 1, "--single", "false")
    report = rank(tmp_path, exp, data, tmp_path / "out", *more)
    assert report["refinement"] is None and not (tmp_path / "out" / "plan.yaml").exists()
    assert len(report["heads"]) == 4
    ends = [p["measures"]["token"]["errors"] for p in report["curves"]["globalness"]]
    assert ends[0] == report["unedited"]["token"]["errors"] and len(ends) == 2


def test_a_reuse_group_has_the_heads_of_its_leader_and_k2_decodes_too(planted, tmp_path):
    pytest.importorskip("k2", reason="k2 is not installed")
    _, _, data, _, _ = planted
    conf = {"num_blocks": 3, "reuse_groups": [[0, 1], [2]]}
    exp = write_experiment(tmp_path / "exp", encoder="reuse_conformer", encoder_conf=conf)
    options = ["--model", exp, "--data", data, "--out", tmp_path / "analysis"]
    analyze.main([str(o) for o in [*options, "--measures", "attention"]])
    more = ("--parts", 1, "--orders", "verticality", "--spans", 1, "--single", "false")
    report = rank(tmp_path, exp, data, tmp_path / "out", *more, "--capacity", "greedy", "k2")
    assert [(h["block"], h["uses"]) for h in report["heads"]] == [(0, 2), (0, 2), (2, 1), (2, 1)]
    assert list(report["unedited"]) == ["greedy", "token", "k2"]
    tokens = {name: found["tokens"] for name, found in report["unedited"].items()}
    assert tokens["greedy"] == tokens["k2"]
    assert report["refinement"]["measure"] == "greedy"


def test_an_analysis_of_another_model_is_refused(planted, tmp_path):
    folder, _, data, _, _ = planted
    other = write_experiment(tmp_path / "exp")
    with pytest.raises(SystemExit, match="of a model with 12 heads, and .* has 4; analyze this"):
        rank(folder, other, data, tmp_path / "out")


def test_an_analysis_of_other_parameters_is_refused(planted, tmp_path):
    folder, experiment, data, _, _ = planted
    other = tmp_path / "exp"
    shutil.copytree(experiment, other)
    state = torch.load(other / "valid.loss.ave.pth")
    state[next(name for name in state if "linear_q" in name)].add_(0.1)
    torch.save(state, other / "valid.loss.ave.pth")
    with pytest.raises(SystemExit, match="analysis: of .* with other parameters than those of"):
        rank(folder, other, data, tmp_path / "out")
