"""The command, on an ASR experiment and on a bare stack."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from small_teachers import make_teacher
from tiny_models import write_experiment

from espnet_plugin.bin import distill as command
from espnet_plugin.distill.transcripts import Transcripts
from espnet_plugin.stacks.asr import log_probs, stack_of
from espnet_plugin.stacks.batches import read_batch
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.stacks.load import load_stack

DROP = "stack: {family: FAMILY, blocks: BLOCKS}\nactions:\n  - {block: 1, do: drop}\n"
MIMIC = """
stack: {family: FAMILY, blocks: BLOCKS}
actions:
  - {blocks: [0, LAST], do: mimic, hidden: 8, layers: 2}
"""


def plan(directory: Path, text: str, family: str, blocks: int) -> str:
    path = directory / "plan.yaml"
    text = text.replace("FAMILY", family).replace("LAST", str(blocks - 1))
    path.write_text(text.replace("BLOCKS", str(blocks)))
    return str(path)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("exp") / "asr"
    return write_experiment(directory, encoder_conf={"num_blocks": 3}, sharpness=3.0)


def run(*options: object) -> None:
    command.main([*(str(option) for option in options), "--num_threads", "1"])


def test_an_experiment_is_healed_and_decodes(experiment, speech_dir, utterances, tmp_path, capsys):
    given = plan(tmp_path, DROP, "conformer", 3)
    common = ("--teacher", experiment, "--plan", given, "--data_dir", speech_dir)
    common += ("--valid_data_dir", speech_dir, "--batch_seconds", 3, "--interval", 4)
    out = tmp_path / "healed"
    run(*common, "--out", out, "--max_updates", 8, "--ctc_weight", 0.1)
    table = capsys.readouterr().out
    rows = {line.split(" | ")[1]: line.split(" | ")[2:4] for line in table.splitlines()[2:]}
    assert list(rows) == [f"{n}, held out" for n in ("loss", "hidden", "posteriors", "ctc")]
    assert float(rows["loss, held out"][1]) < float(rows["loss, held out"][0])
    history = json.loads((out / "distill" / "history.json").read_text())
    assert [entry["updates"] for entry in history["1_heal"]] == [0, 4, 8]

    healed, teacher = load_experiment(out), load_experiment(experiment)
    stack = stack_of(healed)
    assert stack.block_numbers == (0, 2)
    for name, tensor in teacher.model.ctc.state_dict().items():
        assert torch.equal(tensor, healed.model.ctc.state_dict()[name])
    batch = read_batch(utterances[:3])
    with torch.no_grad():
        expected, _ = log_probs(teacher, stack_of(teacher), *batch[1:])
        found, frames = log_probs(healed, stack, *batch[1:])
        encoded, lengths = healed.model.encode(*batch[1:])
    assert torch.equal(frames, lengths) and found.shape == expected.shape
    torch.testing.assert_close(healed.model.ctc.log_softmax(encoded), found)

    run(*common, "--out", out, "--max_updates", 8, "--ctc_weight", 0.1)  # is done already
    again = load_experiment(out).model.state_dict()
    assert all(torch.equal(again[name], t) for name, t in healed.model.state_dict().items())
    with pytest.raises(SystemExit, match="made with ") as caught:
        run(*common, "--out", out, "--max_updates", 9, "--learning_rate", 0.1, "--seed", 3)
    named = (
        "weights of hidden, posteriors and ctc",
        "learning_rate 0.001, not 0.1",
        "max_updates 8, not 9",
        "seed 0, not 3",
        "delete",
    )
    assert all(each in str(caught.value) for each in named)


def test_speech_at_other_speeds_heals_too(experiment, speech_dir, tmp_path):
    given = plan(tmp_path, DROP, "conformer", 3)
    common = ("--teacher", experiment, "--plan", given, "--data_dir", speech_dir)
    common += ("--max_updates", 2, "--batch_seconds", 3)
    for name, speed in (("as_it_is", 0.0), ("one", 0.1), ("two", 0.1)):
        run(*common, "--out", tmp_path / name, "--speed_perturb", speed)
    states = {
        name: load_experiment(tmp_path / name).model.state_dict()
        for name in ("as_it_is", "one", "two")
    }
    same = {n: all(torch.equal(states[n][k], t) for k, t in states["one"].items()) for n in states}
    assert same == {"as_it_is": False, "one": True, "two": True}
    with pytest.raises(SystemExit, match="speed_perturb 0.1, not 0.2"):
        run(*common, "--out", tmp_path / "one", "--speed_perturb", 0.2)


def test_a_student_of_before_is_healed_further(experiment, speech_dir, tmp_path):
    given = plan(tmp_path, DROP, "conformer", 3)
    common = ("--teacher", experiment, "--data_dir", speech_dir, "--max_updates", 1)
    run(*common, "--plan", given, "--out", tmp_path / "one")
    run(*common, "--student", tmp_path / "one", "--out", tmp_path / "two", "--blocks", 0)
    first, second = (load_experiment(tmp_path / name).model for name in ("one", "two"))
    changed = [
        name
        for name, tensor in second.state_dict().items()
        if not torch.equal(tensor, first.state_dict()[name])
    ]
    assert changed and all(".blocks." in name or "after_norm" in name for name in changed)


def test_a_mimic_is_taught_in_two_stages(experiment, speech_dir, tmp_path, capsys):
    given = plan(tmp_path, MIMIC, "conformer", 3)
    out = tmp_path / "mimic"
    run(
        "--teacher", experiment, "--plan", given, "--data_dir", speech_dir, "--out", out,
        "--max_updates", 2, 3, "--teacher_blocks", 1, 2,
    )  # fmt: skip
    assert "| 1_mimic | block_1 |" in capsys.readouterr().out
    history = json.loads((out / "distill" / "history.json").read_text())
    assert {name: entries[-1]["updates"] for name, entries in history.items()} == {
        "1_mimic": 2,
        "2_task": 3,
    }
    taught, teacher = load_experiment(out), load_experiment(experiment)
    assert len(stack_of(taught).blocks) == 1
    head, own = (model.model.ctc.ctc_lo.weight for model in (teacher, taught))
    assert not torch.equal(head, own)  # stage 2 trained a copy


def test_a_bare_stack_needs_no_transcripts(speech_dir, utterances, tmp_path):
    teacher = make_teacher()
    teacher.save(tmp_path / "teacher.pt")
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(speech_dir / "wav.scp", bare)
    given = plan(tmp_path, MIMIC, "wav2vec2", 5)
    common = ("--teacher", tmp_path / "teacher.pt", "--plan", given, "--data_dir", bare)
    run(*common, "--out", tmp_path / "out", "--max_seconds", 0.5)
    student = load_stack(tmp_path / "out" / "stack.pt")
    assert len(student.blocks) == 1 and student.frontend.positions is None
    weight = student.frontend.projection.weight
    assert torch.equal(weight, teacher.frontend.projection.weight)
    with pytest.raises(SystemExit, match="distill: transcripts are of use with an ESPnet"):
        run(*common, "--out", tmp_path / "other", "--stages", "mimic", "task")
    with pytest.raises(SystemExit, match="is no ESPnet experiment"):
        run(*common, "--out", tmp_path / "other", "--stages", "heal", "--posterior_weight", 1)


def test_transcripts_are_espnets_tokens(experiment, speech_dir, tmp_path):
    loaded = load_experiment(experiment)
    labels = Transcripts(loaded, [speech_dir], ["u00", "u01"])
    one, two = labels(["u01", "u00"])
    pieces = [loaded.token_list[token] for token in one]
    assert "".join(pieces).replace("▁", " ").split() == "the quick brown fox".split()
    assert one != two and 0 not in one


def test_what_is_wrong_is_one_line(experiment, speech_dir, tmp_path, capsys):
    given = plan(tmp_path, DROP, "conformer", 3)
    common = ["--teacher", experiment, "--plan", given, "--out", tmp_path / "out"]
    without_text = tmp_path / "without_text"
    without_text.mkdir()
    shutil.copy(speech_dir / "wav.scp", without_text)
    partly = tmp_path / "partly"
    shutil.copytree(without_text, partly)
    (partly / "text").write_text("u00 she sells\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    data = [*common, "--data_dir", speech_dir]
    for options, message in (
        ([*common, "--data_dir", tmp_path / "no"], r"no/wav\.scp: not there"),
        (
            [*common, "--data_dir", without_text, "--ctc_weight", "1"],
            r"text: not there; write a line .* transcript",
        ),
        ([*common, "--data_dir", partly, "--ctc_weight", "1"], r"nothing for u01 .*; add them, or"),
        ([*data[:-2], "--data_dir", speech_dir, "--blocks", 1], "block 1 is not there"),
        ([*data, "--student", experiment], "the student or a plan"),
        ([*data, "--max_updates", 1, 2], "--max_updates: give one number, or one for each"),
        ([*data, "--stages", "mimic"], "no mimic"),
        ([*data, "--batch_seconds", 0], "batches of 0.0 s"),
        ([*data, "--speed_perturb", 1.5], "speeds vary by 0 to less than 1, not 1.5"),
        ([*data, "--out", tmp_path / "full"], "full: there is something in it"),
        (["--teacher", tmp_path / "no", *data[2:]], "no: not there"),
    ):
        with pytest.raises(SystemExit, match=message) as caught:
            run(*options)
        assert str(caught.value).startswith("distill: ") and "\n" not in str(caught.value)
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="no GPU"):
            run(*data, "--ngpu", 1)
