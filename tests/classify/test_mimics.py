"""Mimics of a classifier: states recorded once, two stages, controls."""

from __future__ import annotations

import copy

import pytest
import torch
import yaml
from torch import nn

from espnet_plugin.classify.accuracy import measure
from espnet_plugin.classify.classifier import Classifier
from espnet_plugin.classify.mimics import Lesson, Shape, Study, accuracies, read_study
from espnet_plugin.classify.recorded import Record, last_norm
from espnet_plugin.classify.speed import compare_speed
from espnet_plugin.distill.mimic import Mimicking
from espnet_plugin.distill.settings import Settings
from espnet_plugin.distill.task import without_blocks
from espnet_plugin.surgery.apply import apply_plan

SHAPES = (Shape("linear", 1, 4), Shape("linear", 2, 4), Shape("transformer", 1, 8))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_record_stands_for_the_stack(classifier, recordings, shape):
    teacher = classifier.stack
    torch.manual_seed(1)
    student = apply_plan(teacher, shape.plan("wav2vec2", 4)).eval()
    record = Record(without_blocks(teacher).eval(), teacher, [1, 3], recordings)
    assert last_norm(student) is student.norm and last_norm(student) is not None
    chosen = list(recordings.utterances[:3])
    _, waveforms, lengths = recordings.read(chosen)
    _, states, frames = record.batches(4.0).read(chosen)
    with torch.no_grad():
        expected, valid = student.output(waveforms, lengths)
        found, _ = record.student(student).output(states, frames)
        hidden, _ = teacher(waveforms, lengths, layers=4)
        recalled, _ = record.teacher()(states, frames)
    assert torch.equal(frames, valid)
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(recalled[1], hidden[2], atol=1e-5)
    assert torch.allclose(recalled[2], hidden[4], atol=1e-5)


def test_the_loss_on_a_record_is_that_of_the_stacks(classifier, recordings):
    teacher = classifier.stack
    student = apply_plan(teacher, SHAPES[1].plan("wav2vec2", 4)).eval()
    record = Record(without_blocks(teacher).eval(), teacher, [0, 3], recordings)
    chosen = list(recordings.utterances[::4])
    with torch.no_grad():
        real = Mimicking(teacher, student, {0: [0, 3]})(recordings.read(chosen))
        fast = Mimicking(record.teacher(), record.student(student), {0: [0, 1]})(
            record.batches(4.0).read(chosen)
        )
    assert float(fast["loss"]) == pytest.approx(float(real["loss"]), rel=1e-4)


def test_a_study(classifier, recordings, tmp_path):
    fast = Settings(max_updates=40, learning_rate=5e-3, interval=40)
    study = Study(SHAPES, fast, fast, 4.0)
    before = copy.deepcopy(classifier.state_dict())
    found = Lesson(classifier, recordings, recordings, study).all(tmp_path)
    assert all(torch.equal(before[k], v) for k, v in classifier.state_dict().items())
    assert found["teacher_blocks"][1] == 3
    assert found["z"]["total"] == 16 and found["full"]["total"] == 16
    assert [mimic["name"] for mimic in found["mimics"]] == [shape.name for shape in SHAPES]
    for shape, mimic in zip(SHAPES, found["mimics"], strict=True):
        assert accuracies(mimic) == ["stage 1", "both, frozen", "both", "stage 2"]
        saved = Classifier.load(tmp_path / shape.name)
        assert measure(saved, recordings).to_dict() == mimic["both"]
        whole, blocks = mimic["parameters"]["model"], mimic["parameters"]["blocks"]
        assert blocks == sum(p.numel() for p in saved.stack.blocks.parameters())
        assert whole < found["parameters"]["model"] and blocks < whole
    linear = found["mimics"][1]["parameters"]["blocks"]
    assert linear == 2 * ((16 * 4 + 4) + 2 * 4 + (4 * 16 + 16))


def test_time_is_of_the_same_recordings(classifier, recordings):
    mimic = apply_plan(classifier.stack, SHAPES[0].plan("wav2vec2", 4)).eval()
    some = recordings.first(3)
    found = compare_speed({"full": classifier.stack, "linear1_4": mimic}, some, 0.0, repeats=2)
    assert found["batches"] == found["recordings"] == 3
    full, small = found["stacks"]["full"], found["stacks"]["linear1_4"]
    assert full["model"]["share"] == full["blocks"]["share"] == 1.0
    with torch.no_grad():
        frames = sum(int(mimic.output(*some.read([u])[1:])[1]) for u in some.utterances)
    assert small["blocks"]["macs"] == frames * 2 * 16 * 4  # W and W'
    assert small["model"]["macs"] < full["model"]["macs"]
    together = compare_speed({"full": classifier.stack}, some, 10.0, repeats=2)
    assert together["batches"] == 1


def test_studies_in_files(tmp_path, repo_root):
    conf = repo_root / "egs/fsdd/cls1/conf"
    word, speaker = (read_study(conf / f"mimics_{task}.yaml") for task in ("word", "speaker"))
    assert {shape.kind for shape in word.shapes} == {"linear", "transformer"}
    assert word.shapes[0].name == "linear1_64" and set(speaker.shapes) < set(word.shapes)
    good = {
        "mimics": [{"kind": "linear", "layers": 1, "hidden": 4}],
        "stage1": {},
        "stage2": {},
        "batch_seconds": 4,
    }
    for changes, message in (
        ({"mimics": [{"kind": "linear", "layers": 3, "hidden": 4}]}, "1 or 2 layers"),
        ({"mimics": [{"kind": "cubic", "layers": 1, "hidden": 4}]}, "linear or transformer"),
        ({"stage2": {"epochs": 4}}, "epochs"),
        ({"mimics": [{"layers": 1}]}, "kind"),
    ):
        (tmp_path / "m.yaml").write_text(yaml.safe_dump({**good, **changes}))
        with pytest.raises(ValueError, match=f"m.yaml: .*{message}"):
            read_study(tmp_path / "m.yaml")
    (tmp_path / "m.yaml").write_text("mimics: []")
    with pytest.raises(ValueError, match="m.yaml: .*missing"):
        read_study(tmp_path / "m.yaml")


def test_a_norm_is_part_of_the_student_where_there_is_one(classifier):
    assert last_norm(classifier.stack) is classifier.stack.norm
    assert last_norm(without_blocks(classifier.stack)) is not None
    assert isinstance(last_norm(classifier.stack), nn.LayerNorm)
