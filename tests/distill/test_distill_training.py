"""The training loop: the best is kept, and a run that was cut off ends as if it had not been."""

from __future__ import annotations

import logging

import pytest
import torch
from small_teachers import edited, make_teacher
from torch import nn

from espnet_plugin.distill import checkpoint
from espnet_plugin.distill.batches import SpeechBatches
from espnet_plugin.distill.healing import Healing, heal
from espnet_plugin.distill.settings import Settings
from espnet_plugin.distill.train import learning, learning_mode, train
from espnet_plugin.stacks.batches import read_batch
from espnet_plugin.surgery.actions import Drop, Share

SETTINGS = Settings(max_updates=7, learning_rate=1e-2, interval=2, dropout=True)


class Killed(Exception):
    pass


def killed_after(reads: int):
    """A reader that dies like the process that it stands for."""
    done = []

    def read(batch):
        if len(done) == reads:
            raise Killed
        done.append(batch)
        return read_batch(batch)

    return read


def healed(teacher, utterances, directory, read=read_batch, settings=SETTINGS):
    """A fresh student, with dropout, layer drop and a shared block; its parameters afterwards."""
    student = edited(teacher, Drop(1), Share(3, 2))
    batches = SpeechBatches(utterances[:7], 1.5, read=read)
    valid = SpeechBatches(utterances[9:], 6.0, None)
    history = heal(Healing(teacher, student), batches, settings, valid, directory)
    return student.state_dict(), history


@pytest.mark.parametrize("reads", [1, 4, 5])
def test_a_run_that_is_continued_ends_to_the_bit_as_one_that_is_not(utterances, tmp_path, reads):
    teacher = make_teacher(layer_drop=0.3)
    whole, history = healed(teacher, utterances, None)
    with pytest.raises(Killed):
        healed(teacher, utterances, tmp_path, killed_after(reads))
    torch.manual_seed(99)  # another process has other random numbers
    continued, again = healed(teacher, utterances, tmp_path)
    assert whole.keys() == continued.keys()
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
    for entries in (history, again):
        for entry in entries:
            assert entry.pop("seconds") >= 0
    assert history == again and [entry["updates"] for entry in history] == [0, 2, 4, 6, 7]


def test_a_finished_run_is_only_read(teacher, utterances, tmp_path):
    first, _ = healed(teacher, utterances, tmp_path)
    second, _ = healed(teacher, utterances, tmp_path, killed_after(0))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_of_another_run_is_refused(teacher, utterances, tmp_path):
    healed(teacher, utterances, tmp_path)
    other = Settings(max_updates=7, learning_rate=2e-2, interval=2, dropout=True)
    with pytest.raises(ValueError, match=r"checkpoint\.pt: made with learning_rate 0.01, not 0.02"):
        healed(teacher, utterances, tmp_path, settings=other)
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"checkpoint\.pt: not a file of tensors"):
        healed(teacher, utterances, tmp_path)
    torch.save({"format": "another"}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"its format is not"):
        healed(teacher, utterances, tmp_path)


class Drifting:
    """A loss that training makes small and that held-out data (longer ones) dislike."""

    def __init__(self, layer: nn.Linear, least: int) -> None:
        self.layer, self.least = layer, least

    def __call__(self, batch):
        value = self.layer.weight.sum()
        held_out = int(batch[2].max()) > self.least
        return {"loss": (value - 3).square() if held_out else (value - 5).square()}


def test_the_parameters_with_the_least_held_out_loss_are_kept(utterances):
    layer = nn.Linear(1, 1)
    nn.init.zeros_(layer.weight)
    longest = max(u.samples for u in utterances[:6])
    objective = Drifting(layer, longest)
    batches, valid = SpeechBatches(utterances[:6]), SpeechBatches(utterances[8:], seed=None)
    settings = Settings(max_updates=60, learning_rate=0.2, interval=5, decay="linear")
    history = train(objective, layer, [layer.weight], batches, settings, valid)
    losses = [entry["valid"]["loss"] for entry in history]
    assert min(losses) < losses[-1] < losses[0]
    assert float((layer.weight - 3).square()) == pytest.approx(min(losses), rel=1e-5)
    nn.init.constant_(layer.weight, 3.0)
    train(objective, layer, [layer.weight], batches, settings, valid)
    assert float(layer.weight) == 3.0  # nothing was better than the start
    train(objective, layer, [layer.weight], batches, settings)
    assert float(layer.weight) == pytest.approx(5, abs=0.1)  # nobody to ask


def test_time_ends_a_run(utterances):
    layer = nn.Linear(1, 1)
    settings = Settings(max_updates=None, max_seconds=0.5, interval=10_000)
    objective = Drifting(layer, 10**9)
    history = train(objective, layer, [layer.weight], SpeechBatches(utterances), settings)
    assert history[-1]["updates"] > 3 and 0.5 <= history[-1]["seconds"] < 5


def test_a_gradient_that_is_no_number_is_left_out(utterances, caplog):
    layer = nn.Linear(1, 1)

    def objective(batch):
        bad = "u03" in batch[0]
        return {"loss": layer.weight.sum() * (float("nan") if bad else 1.0)}

    settings = Settings(max_updates=12, interval=12)
    with caplog.at_level(logging.WARNING):
        train(objective, layer, [layer.weight], SpeechBatches(utterances, 1.0), settings)
    assert bool(torch.isfinite(layer.weight).all())
    assert any("u03" in r.message and "no finite gradient" in r.message for r in caplog.records)
    with pytest.raises(ValueError, match="no gradient was finite"):
        train(objective, layer, [layer.weight], SpeechBatches(utterances[3:4]), settings)


def test_all_is_as_before_afterwards():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5)).eval()
    net[0].bias.requires_grad_(False)
    with pytest.raises(Killed), learning(net, [net[1].weight]):
        assert [p.requires_grad for p in net.parameters()] == [False, False, True, False]
        learning_mode(net, dropout=False)
        assert [m.training for m in net] == [False, True, False]
        learning_mode(net, dropout=True)
        assert [m.training for m in net] == [True, True, True]
        raise Killed
    assert [p.requires_grad for p in net.parameters()] == [True, False, True, True]
    assert not any(module.training for module in net.modules())
    with learning(net, [net[0].weight]):
        learning_mode(net, dropout=True)
        assert not net[1].training  # its statistics stay where it does not learn


def test_only_what_changes_is_in_a_checkpoint(teacher, utterances):
    student = edited(teacher, Share(3, 2))
    with learning(student, list(student.blocks.parameters())):
        names = set(checkpoint.changing(student))
    assert names == {n for n in student.state_dict() if n.startswith("blocks.")}
    with pytest.raises(ValueError, match="nothing to train"):
        train(lambda batch: {}, student, [], SpeechBatches(utterances), SETTINGS)
