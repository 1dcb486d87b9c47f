"""The command that proposes plans."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_models import write_experiment

from espnet_plugin.bin import plan as command
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.actions import Drop, LocalAttention
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    stack = Wav2Vec2Stack(
        Wav2Vec2Config(
            family="wav2vec2", conv_layers=((8, 10, 5), (8, 8, 4)), width=16, blocks=4, heads=2,
            feed_forward=20, pos_kernel=4, pos_groups=2,
        )
    )  # fmt: skip
    stack.save(tmp_path / "model.pt")
    return tmp_path / "model.pt"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    noise = np.random.default_rng(0)
    lines = []
    for number in range(6):
        path = folder / f"u{number}.wav"
        soundfile.write(path, 0.1 * noise.standard_normal(900 + 60 * number), 16000)
        lines.append(f"u{number} {path}\n")
    (folder / "wav.scp").write_text("".join(lines))
    return folder


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(*arguments: object) -> None:
    command.main([str(argument) for argument in arguments])


def test_a_second_order_needs_no_second_pass(model, data, tmp_path, monkeypatch) -> None:
    first, second = tmp_path / "plans" / "first.yaml", tmp_path / "plans" / "second.yaml"
    given = ("--model", model, "--data_dir", data, "--neighbours", 5)
    run(*given, "--order", "block_influence", "--remove", 2, "--out", first)
    stored = json.loads((tmp_path / "plans" / "similarity.json").read_text())
    assert len(stored["values"]["cosine"]) == 5 and stored["utterances"] == 6
    plan = BlockPlan.load(first)
    assert len(plan.actions) == len(plan.because) == 2 and Drop(0) not in plan.actions
    assert len(apply_plan(load_stack(model), plan).blocks) == 2

    monkeypatch.setattr(
        "espnet_plugin.surgery.orders.measure_similarities", lambda *a: pytest.fail("again")
    )
    run(*given, "--order", "knn_influence", "--remove", 1, "--out", second)
    assert "mutual k-NN (k = 5)" in BlockPlan.load(second).because[0]


def test_orders_that_need_no_speech_take_none(model, tmp_path) -> None:
    out = tmp_path / "plan.yaml"
    run("--model", model, "--order", "backward", "--remove", 3, "--out", out)
    assert BlockPlan.load(out).actions == (Drop(3), Drop(2), Drop(1))


def test_the_five_arms(model, tmp_path) -> None:
    run("--model", model, "--abnormal", 3, "--arms", tmp_path / "arms", "--window", 5)
    names = ["as_it_is", "control", "drop", "local", "share"]
    assert sorted(path.stem for path in (tmp_path / "arms").iterdir()) == names
    plans = {name: BlockPlan.load(tmp_path / "arms" / f"{name}.yaml") for name in names}
    assert plans["local"].actions == (LocalAttention(3, 5),)
    assert plans["local"].stack.model == str(model)
    for plan in plans.values():
        apply_plan(load_stack(model), plan)


def test_one_arm_without_a_model_and_from_a_diagnosis(tmp_path) -> None:
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    stack = ("--family", "hubert", "--blocks", 12)
    run(*stack, "--abnormal", 3, 7, "--strategy", "control", "--seed", 4, "--out", one)
    assert len(BlockPlan.load(one).actions) == 2 and "seed 4" in one.read_text()
    diagnosis = tmp_path / "diagnosis.json"
    diagnosis.write_text('{"family": "hubert", "stack_blocks": 12, "candidates": [3, 7]}')
    run("--diagnosis", diagnosis, "--strategy", "drop", "--out", other)
    assert BlockPlan.load(other).actions == (Drop(3), Drop(7))


def test_a_budget_is_met_and_its_curve_written(model, data, tmp_path, capsys) -> None:
    out = tmp_path / "budget" / "plan.yaml"
    given = ("--model", model, "--data_dir", data, "--utterances", 3, "--budget", "parameters=0.7")
    run(*given, "--actions", "drop", "reuse_attention", "--compare", "--width", 2, "--out", out)
    plan, stack = BlockPlan.load(out), load_stack(model)
    left = sum(p.numel() for p in apply_plan(stack, plan).parameters())
    assert left <= 0.7 * sum(p.numel() for p in stack.parameters())
    work = tmp_path / "budget"
    assert {"curve.json", "curve.csv", "measurements.jsonl", "compare"} <= {
        path.name for path in work.iterdir()
    }
    assert (work / "compare" / "uniform_drop.yaml").is_file()
    assert "| chosen | yes |" in capsys.readouterr().out


def test_too_many_blocks_are_refused_before_anything_is_measured(model, tmp_path) -> None:
    for order in ("block_influence", "core_first", "backward"):
        given = ("--model", model, "--order", order, "--data_dir", tmp_path / "no", "--out", "x")
        given += ("--core", 1) if order == "core_first" else ()
        message = f"--order {order} --remove 4: {order} can drop 0 to 3 of 4 blocks, not 4"
        with pytest.raises(SystemExit, match=message):
            run(*given, "--remove", 4)
        with pytest.raises(SystemExit, match="not -1"):
            run(*given, "--remove", -1)


def test_a_budget_by_what_is_recognised(data, tmp_path, capsys) -> None:
    exp = write_experiment(tmp_path / "exp")
    (data / "text").write_text("".join(f"u{n} the fox\n" for n in range(6)))
    for number in range(6):
        samples = 0.1 * np.random.default_rng(number).standard_normal(9000)
        soundfile.write(data / f"u{number}.wav", samples, 16000)
    given = ("--model", exp, "--data_dir", data, "--utterances", 3, "--budget", "parameters=0.9")
    given += ("--actions", "drop", "--width", 2, "--out", tmp_path / "budget" / "plan.yaml")
    run(*given, "--capacity", "greedy")
    told = capsys.readouterr().out
    assert "damage: share of words of greedy decoding: what is lost of it" in told
    assert "share of words of greedy decoding, of the unedited model: " in told
    curve = json.loads((tmp_path / "budget" / "curve.json").read_text())
    assert curve["damage"].startswith("share of words") and curve["plans"]
    for wrong, message in (
        (("--capacity", "speaker"), "--capacity speaker needs --probes, the directory of an ana"),
        (("--probes", exp), "--probes is of use with --capacity phone, word or speaker only"),
        (("--capacity", "phone", "--probes", exp), "--alignments and --capacity phone need each"),
        (("--utterances", 0), "at least one utterance is needed, not 0"),
    ):
        with pytest.raises(SystemExit, match=message):
            run(*given, *wrong)
    given = ("--model", exp, "--order", "forward", "--remove", 1, "--out", tmp_path / "x.yaml")
    with pytest.raises(SystemExit, match="--capacity is of use with --budget only"):
        run(*given, "--capacity", "greedy")


def test_core_first_needs_its_core(model, tmp_path) -> None:
    given = ("--model", model, "--data_dir", tmp_path, "--remove", 1, "--out", tmp_path / "x.yaml")
    for wrong in (("--order", "core_first"), ("--order", "cka", "--core", 1)):
        with pytest.raises(SystemExit, match="--core .* and --order core_first need each other"):
            run(*given, *wrong)


def test_finalists_are_healed(model, data, tmp_path, capsys) -> None:
    train = tmp_path / "train"
    train.mkdir()
    lines = [f"t-{line}" for line in (data / "wav.scp").read_text().splitlines(keepends=True)]
    (train / "wav.scp").write_text("".join(lines))
    given = ("--model", model, "--data_dir", data, "--utterances", 2, "--budget", "parameters=0.7")
    given += ("--actions", "drop", "--width", 2, "--finalists", 2, "--finalist_updates", 3)
    given += ("--batch_seconds", 1, "--out", tmp_path / "budget" / "plan.yaml")
    run(*given, "--train_data_dir", train)
    assert "| healed | on other speech | moves |" in capsys.readouterr().out
    curve = json.loads((tmp_path / "budget" / "curve.json").read_text())
    assert curve["healing"]["max_updates"] == 3
    healed = {r["plan"] for r in curve["plans"] if r["healed_damage"] is not None}
    assert {curve["chosen"], *curve["compared"].values()} <= healed
    with pytest.raises(SystemExit, match="u0 is in --train_data_dir .* not healed on"):
        run(*given, "--train_data_dir", data)
    with pytest.raises(SystemExit, match="must be 1 or above"):
        run(*given, "--train_data_dir", train, "--finalist_updates", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of --analysis, .*not none of them"),
        (("--order", "cka", "--budget", "speed=2"), "not --order and --budget"),
        (("--analysis", "no.json", "--theta", "0.9"), "--out is needed too"),
        (("--analysis", "no.json", "--theta", "0.9", "--out", "x.yaml"), r"no\.json"),
        (("--order", "cka", "--out", "x.yaml", "--model", "no.pt"), "--remove is needed too"),
        (
            ("--order", "cka", "--remove", "1", "--out", "x.yaml", "--model", "no.pt"),
            r"no\.pt: not there",
        ),
        (("--abnormal", "3", "--family", "hubert", "--arms", "x"), "--blocks is needed too"),
        (("--abnormal", "3"), "give either --arms DIRECTORY or --strategy"),
        (("--budget", "speed=2", "--out", "x.yaml", "--model", "no.pt"), "--data_dir is needed"),
        (
            (
                "--budget",
                "speed=2",
                "--out",
                "x",
                "--model",
                "no.pt",
                "--data_dir",
                "no",
                "--finalists",
                "3",
            ),
            "--train_data_dir is needed too",
        ),
        (
            (
                "--budget",
                "speed=2",
                "--out",
                "x",
                "--model",
                "no.pt",
                "--data_dir",
                "no",
                "--train_data_dir",
                "no",
            ),
            "--train_data_dir is of use with --finalists only",
        ),
        (
            ("--budget", "speed=1", "--out", "x", "--model", "no.pt", "--data_dir", "no"),
            "above 1, not 1",
        ),
    ],
)
def test_what_is_missing_is_one_line(arguments, message, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"plan: .*{message}"):
        command.main(list(arguments))
    assert not list(tmp_path.iterdir())
