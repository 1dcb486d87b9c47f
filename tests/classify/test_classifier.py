"""A stack with a head: padding, short recordings, files."""

from __future__ import annotations

import pickle

import pytest
import torch
from tiny_models import write_experiment
from torch import nn

from espnet_plugin.classify.accuracy import Accuracy, accuracy_of, measure
from espnet_plugin.classify.classifier import Classifier, load_head, mean_pool
from espnet_plugin.stacks.conformer import ConformerStack
from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.experiment import load_experiment
from espnet_plugin.stacks.load import load_stack
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.pruning_curve import drop_plan


def test_the_mean_is_over_valid_frames():
    hidden = torch.tensor([[[1.0], [3.0], [100.0]], [[1.0], [2.0], [6.0]]])
    assert mean_pool(hidden, torch.tensor([2, 3])).tolist() == [[2.0], [3.0]]


def test_padding_changes_nothing(classifier, recordings):
    batch = list(recordings.utterances[::3])
    _, waveforms, lengths = recordings.read(batch)
    assert len(set(lengths.tolist())) > 1
    with torch.no_grad():
        together = classifier(waveforms, lengths)
        for row, length, logits in zip(waveforms, lengths, together, strict=True):
            alone = classifier(row[None, :length])
            assert torch.allclose(alone[0], logits, atol=1e-4)


@pytest.mark.parametrize("samples", [1, 30, 719, 1599])
def test_short_recordings_count_as_if_zeros_followed(classifier, samples):
    speech = torch.randn(1, samples)
    padded = nn.functional.pad(speech, (0, 1600 - samples))
    with torch.no_grad():
        assert torch.equal(classifier(speech), classifier(padded))
        mixed = classifier(nn.functional.pad(speech, (0, 4000)), torch.tensor([samples]))
    assert torch.allclose(classifier(padded), mixed, atol=1e-5)


def test_any_family_can_carry_a_head(tmp_path, recordings):
    from espnet_plugin.stacks.asr import stack_of

    experiment = load_experiment(write_experiment(tmp_path / "exp"))
    stack = stack_of(experiment)
    assert isinstance(stack, ConformerStack) and stack.takes == "waveform"
    classifier = Classifier(stack, recordings.classes).eval()
    found = measure(classifier, recordings.first(4))
    assert found.total == 4


def test_files_hold_an_edited_stack_and_its_head(classifier, recordings, tmp_path):
    edited = apply_plan(classifier.stack, drop_plan("wav2vec2", 4, [1, 2]))
    small = Classifier(edited, classifier.labels, classifier.head).eval()
    small.save(tmp_path)
    again = Classifier.load(tmp_path)
    assert again.labels == ("ONE", "SIX") and again.stack.block_numbers == (0, 3)
    _, waveforms, lengths = recordings.read(list(recordings.utterances[:3]))
    with torch.no_grad():
        assert torch.equal(again(waveforms, lengths), small(waveforms, lengths))
    assert load_stack(tmp_path / "stack.pt").block_numbers == (0, 3)


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('the file ran code')",)


def test_files_that_are_none_get_one_line(classifier, tmp_path):
    with pytest.raises(StackError, match="head.pt: not there"):
        Classifier.load(tmp_path)
    classifier.save(tmp_path)
    torch.save({"format": "other"}, tmp_path / "head.pt")
    with pytest.raises(StackError, match="head.pt: not a saved head"):
        Classifier.load(tmp_path)
    (tmp_path / "head.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(StackError, match="head.pt"):
        load_head(tmp_path / "head.pt")
    other = Classifier(classifier.stack, ["a", "b", "c"])
    other.save(tmp_path)
    content = torch.load(tmp_path / "head.pt")
    content["labels"] = ["a", "b"]
    torch.save(content, tmp_path / "head.pt")
    with pytest.raises(StackError, match="2 labels"):
        Classifier.load(tmp_path)


def test_labels_and_heads_that_make_no_sense(classifier):
    stack = classifier.stack
    for labels in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match="distinct labels"):
            Classifier(stack, labels)
    with pytest.raises(ValueError, match="width 16"):
        Classifier(stack, ["a", "b"], nn.Linear(8, 2))
    stack.takes = "features"
    with pytest.raises(ValueError, match="takes features"):
        Classifier(stack, ["a", "b"])


def test_accuracy_counts(classifier, recordings):
    always_six = nn.Linear(16, 2)
    nn.init.zeros_(always_six.weight)
    always_six.bias.data.copy_(torch.tensor([0.0, 1.0]))
    found = measure(Classifier(classifier.stack, ["ONE", "SIX"], always_six), recordings)
    assert (found.right, found.total, found.value) == (8, 16, 0.5)
    swapped = accuracy_of(always_six, ["SIX", "ONE"], recordings.first(1))
    assert swapped(classifier.stack) == 1.0  # jackson-1-05 is a ONE


def test_wilsons_interval():
    low, high = Accuracy(285, 300).interval()
    assert (low, high) == pytest.approx((0.9191, 0.9693), abs=2e-4)
    assert Accuracy(0, 10).interval()[0] == 0.0
    assert Accuracy(10, 10).interval() == pytest.approx((0.7225, 1.0), abs=1e-4)
