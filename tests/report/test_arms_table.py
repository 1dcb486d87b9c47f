"""The table of edits: every cell is what the experiment, the scores and the benchmark say."""

from __future__ import annotations

import json

import pytest

from espnet_plugin.bin.score import main as score
from espnet_plugin.report.arms import arms_table, edit_of, summary
from espnet_plugin.report.decodings import ResultsError
from espnet_plugin.stacks.asr import stack_of, write_experiment
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.stacks.untrained import create_untrained
from espnet_plugin.surgery.actions import (
    Drop,
    LocalAttention,
    Mimic,
    PruneHeads,
    ReuseAttention,
    Share,
)
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, StackDescription

LAYOUT = {"conv_layers": [[8, 10, 5], [8, 8, 8]], "width": 16, "blocks": 4, "heads": 2}
CONFIG = {
    "encoder": "pruned_stack",
    "encoder_conf": {"stack": {"config": {**LAYOUT, "feed_forward": 24, "pos_groups": 2}}},
    "model_conf": {"ctc_weight": 1.0},
    "input_size": 1,
    **dict.fromkeys(("frontend", "normalize", "specaug")),
}


def plan(blocks, *actions):
    return BlockPlan(StackDescription("wav2vec2", blocks), tuple(actions))


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """The original, and one that was edited twice and healed; with scores and a benchmark."""
    folder = tmp_path_factory.mktemp("arms")
    create_untrained(folder / "model", CONFIG, ["<blank>", "<unk>", "<sos/eos>"])
    experiment = load_experiment(folder / "model")
    stack = stack_of(experiment)
    edited = apply_plan(apply_plan(stack, plan(4, Drop(2))), plan(3, ReuseAttention(2, 1)))
    reference = folder / "ref"
    reference.write_text("u0 a b c d\nu1 e f\n")
    for name, arm, said in (("original", stack, "a b c d"), ("small_healed", edited, "a x c")):
        write_experiment(experiment, arm, folder / name)
        out = folder / name / "decode" / "test"
        (out / "1best_recog").mkdir(parents=True)
        (out / "1best_recog" / "text").write_text(f"u0 {said}\nu1 e f\n")
        factors = {"method": "hlg", "encoder_rtf": 0.1, "search_rtf": 0.1, "rescoring_rtf": 0.0}
        (out / "rtf.json").write_text(json.dumps(factors))
        score(
            ["--hyp", str(out / "1best_recog" / "text"), "--ref", str(reference)]
            + ["--name", "decode/test", "--output_dir", str(folder / name / "score")]
        )
    (folder / "small_healed" / "distill").mkdir()
    history = {
        "mimic": [{"updates": 0, "seconds": 0.0}, {"updates": 30, "seconds": 4.4}],
        "task": [{"updates": 12, "seconds": 1.2}],
    }
    (folder / "small_healed" / "distill" / "history.json").write_text(json.dumps(history))
    sizes = {"encoder_parameters": 1234000, "macs_per_second": 5.678e7}
    times = {"seconds": 15.0, "batch": 1, "speed_ratio": 1.0, "encoder_rtf": 0.002}
    smaller = {**times, "model": "small_healed", "speed_ratio": 1.87654, "encoder_rtf": 0.00107}
    speeds = [
        {**times, "model": "original"},
        smaller,
        {**smaller, "batch": 8, "speed_ratio": 9.9},
    ]
    benchmark = {
        "models": {"original": sizes, "small_healed": {**sizes, "encoder_parameters": 700000}},
        "speeds": speeds,
        "macs_seconds": 15.0,
        "environment": {"threads": 2},
    }
    (folder / "bench").mkdir()
    (folder / "bench" / "benchmark.json").write_text(json.dumps(benchmark))
    return folder


def test_a_row_for_each_arm(arms):
    lines = arms_table([arms / "original", arms / "small_healed"], ["decode"], arms / "bench")
    head, _, first, second, _, note = lines
    assert head == (
        "|arm|edit|healed|WER test, hlg|encoder (M)|GMAC/s|RTF, 15 s|times as fast, 15 s|"
    )
    assert first.startswith("|original|none|–|0.00 (") and first.endswith(
        "|1.234|0.057|0.00200|1.00|"
    )
    assert second.startswith(
        "|small_healed|drop 2; then reuse 2 of 1|42 updates, 6 s|33.33 (0.00–50.00)"
    )
    assert second.endswith("|0.700|0.057|0.00107|1.88|")
    assert "on 2 threads" in note and "at 15 s" in note


def test_what_is_missing_is_named(arms, tmp_path):
    with pytest.raises(ResultsError, match=r"benchmark\.json: not there"):
        arms_table([arms / "original"], ["decode"], tmp_path)
    with pytest.raises(ResultsError, match=r"config\.yaml: not there"):
        edit_of(tmp_path)
    (tmp_path / "config.yaml").write_text("encoder_conf: {}\n")
    with pytest.raises(ResultsError, match=r"config\.yaml: not an experiment with an edited"):
        edit_of(tmp_path)


def test_actions_in_a_few_words():
    actions = [
        Drop(5),
        LocalAttention(1, 16),
        Drop(2),
        PruneHeads(3, (0, 2)),
        Share(6, 7),
        ReuseAttention(9, 8),
        Mimic((10, 11), 64, 2, "transformer"),
    ]
    assert summary(actions) == (
        "drop 5, 2; local 1 within 16; mimic 10–11 (transformer, 2 × 64); "
        "prune heads 3: 0 2; reuse 9 of 8; share 6 from 7"
    )
