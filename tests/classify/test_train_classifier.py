"""Training of stack and head, and its configuration."""

from __future__ import annotations

import copy

import pytest
import torch
import yaml
from classify_layout import LAYOUT

from espnet_plugin.classify.accuracy import measure
from espnet_plugin.classify.classifier import Classifier
from espnet_plugin.classify.configuration import new_classifier, read_configuration
from espnet_plugin.classify.train import label_numbers, train_classifier
from espnet_plugin.distill.settings import Settings
from espnet_plugin.stacks.batches import DataError

SETTINGS = Settings(max_updates=60, learning_rate=3e-3, decay="linear", interval=20, dropout=True)


def test_it_learns_real_words(classifier, recordings):
    history = train_classifier(classifier, recordings, SETTINGS, 4.0)
    assert history[-1]["loss"] < 0.5 * history[1]["loss"]
    assert measure(classifier, recordings).value >= 15 / 16
    assert not classifier.training


def test_a_training_that_was_cut_off_goes_on(classifier, recordings, tmp_path):
    whole, cut = copy.deepcopy(classifier), copy.deepcopy(classifier)
    settings = Settings(max_updates=8, interval=2, dropout=True)
    train_classifier(whole, recordings, settings, 4.0)

    class CutOff(Exception):
        pass

    calls = []

    def break_off(module, args, output):
        calls.append(None)
        if len(calls) == 6:
            raise CutOff

    handle = cut.register_forward_hook(break_off)
    with pytest.raises(CutOff):
        train_classifier(cut, recordings, settings, 4.0, tmp_path)
    handle.remove()
    anew = copy.deepcopy(classifier)
    train_classifier(anew, recordings, settings, 4.0, tmp_path)
    for one, other in zip(whole.parameters(), anew.parameters(), strict=True):
        assert torch.equal(one, other)


def test_labels_must_be_known(classifier, recordings):
    with pytest.raises(DataError, match="label 'SIX' is none"):
        label_numbers(recordings, ["ONE", "TWO"])
    other = Classifier(classifier.stack, ["ONE", "TWO"])
    with pytest.raises(DataError, match="SIX"):
        train_classifier(other, recordings, SETTINGS, 4.0)


def write(path, **changes):
    values = {"stack": LAYOUT, "train": {"max_updates": 3, "seed": 5}, "batch_seconds": 4}
    path.write_text(yaml.safe_dump({**values, **changes}))
    return path


def test_configurations(tmp_path, classifier):
    configuration = read_configuration(write(tmp_path / "c.yaml"))
    assert configuration.stack.width == 16 and configuration.train.max_updates == 3
    one, two = (new_classifier(configuration, ["a", "b"]) for _ in range(2))
    assert torch.equal(one.head.weight, two.head.weight)
    classifier.save(tmp_path / "exp")
    dropping = read_configuration(write(tmp_path / "c.yaml", stack={**LAYOUT, "layer_drop": 0.3}))
    begun = new_classifier(dropping, ["a", "b", "c"], tmp_path / "exp" / "stack.pt")
    for ours, theirs in zip(begun.stack.parameters(), classifier.stack.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert begun.stack.blocks[0].layer_drop == 0.3
    assert begun.head.weight.shape == (3, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stack": {"widht": 3}}, "widht"),
        ({"train": {"epochs": 3}}, "epochs"),
        ({"train": {"learning_rate": 0}}, "learning_rate"),
        ({"more": 1}, "expected the keys"),
        ({"batch_seconds": "many"}, "many"),
    ],
)
def test_wrong_configurations_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"c.yaml: .*{message}"):
        read_configuration(write(tmp_path / "c.yaml", **changes))


def test_the_recipes_configurations(repo_root):
    for task in ("word", "speaker"):
        found = read_configuration(repo_root / "egs/fsdd/cls1/conf" / f"train_{task}.yaml")
        assert found.stack.blocks == 12 and found.train.dropout
