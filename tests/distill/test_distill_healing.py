"""Healing: what is compared with what, computed how, and that it heals."""

from __future__ import annotations

import pytest
import torch
from small_teachers import edited, make_teacher
from torch import nn

from espnet_plugin.distill.batches import SpeechBatches
from espnet_plugin.distill.front import Front, front_parameters
from espnet_plugin.distill.healing import Healing, Weights, heal
from espnet_plugin.distill.losses import ctc_loss, divergence, mean_square
from espnet_plugin.distill.pairs import Pair, default_pairs, outputs, pairs_of
from espnet_plugin.distill.settings import Settings
from espnet_plugin.stacks.batches import read_batch
from espnet_plugin.surgery.actions import Drop, LocalAttention, Mimic, Share


def test_the_first_block_after_a_gap_is_compared(teacher):
    assert default_pairs(teacher, teacher) == (Pair(4, 4),)
    assert default_pairs(edited(teacher, Drop(2)), teacher) == (Pair(2, 3), Pair(3, 4))
    assert default_pairs(edited(teacher, Drop(0)), teacher) == (Pair(0, 1), Pair(3, 4))
    assert default_pairs(edited(teacher, Drop(3)), teacher) == (Pair(3, 4),)
    last = edited(teacher, Drop(4))
    assert default_pairs(last, teacher) == (Pair(3, 4),)
    mimic = edited(teacher, Mimic((1, 3), 8, 1))
    assert default_pairs(mimic, teacher) == (Pair(1, 3), Pair(2, 4))
    twice = edited(edited(teacher, Drop(1)), Drop(2))  # blocks 1 and 3 are gone
    assert default_pairs(twice, edited(teacher, Drop(1))) == (Pair(2, 3),)


def test_blocks_are_chosen_by_their_numbers(teacher):
    student = edited(teacher, Drop(1))
    assert pairs_of(student, teacher, [0, 3]) == (Pair(0, 0), Pair(2, 3), Pair(3, 4))
    assert pairs_of(student, teacher, []) == (Pair(3, 4),)
    with pytest.raises(ValueError, match="block 1 is not there"):
        pairs_of(student, teacher, [1])


def test_outputs_are_those_of_the_stack(utterances):
    for norm_first in (False, True):
        stack = make_teacher(norm_first=norm_first)
        _, inputs, lengths = read_batch(utterances[:3])
        with torch.no_grad():
            hidden, _ = stack(inputs, lengths)
            found = outputs(stack, stack.embed(inputs, lengths), [1, 4])
            raw = outputs(stack, stack.embed(inputs, lengths), [4], finish=False)
        assert sorted(found) == [1, 4]
        assert torch.equal(found[1], hidden[2]) and torch.equal(found[4], hidden[5])
        assert torch.equal(raw[4], found[4]) != norm_first


@pytest.mark.parametrize(
    "action, shared", [(Drop(1), "all"), (Mimic((0, 4), 8, 1), "features"), (Drop(0), "all")]
)
def test_a_front_that_is_shared_gives_what_each_would(teacher, utterances, action, shared):
    student = edited(teacher, action).eval()
    batch = read_batch(utterances[:3])
    front, apart = Front(teacher, student), Front(teacher, student, trained=True)
    assert front.shared == shared and apart.shared is None
    with torch.no_grad():
        for one, two in zip(front(batch), apart(batch), strict=True):
            assert torch.equal(one.x, two.x) and torch.equal(one.lengths, two.lengths)


def test_a_front_that_differs_is_not_shared(teacher):
    student = edited(teacher, Drop(1))
    student.frontend.projection.weight.data[0, 0] += 1
    assert Front(teacher, student).shared is None
    assert Front(teacher, make_teacher(input_dropout=0.0)).shared is None
    assert len(front_parameters(teacher)) == sum(
        not name.startswith("blocks.") for name, _ in teacher.named_parameters()
    )
    norm_first = make_teacher(norm_first=True)
    assert len(front_parameters(norm_first)) == len(front_parameters(teacher)) - 2


def test_a_short_utterance_is_named(teacher):
    names, inputs = ["long", "short"], torch.randn(2, 3000)
    with pytest.raises(ValueError, match="long, short: .*samples"):
        Front(teacher, teacher)((names, inputs, torch.tensor([3000, 5])))


def test_terms_are_the_losses_with_their_weights(teacher, utterances):
    student = edited(teacher, Drop(2)).eval()
    batch = read_batch(utterances[:4])
    layer = nn.Linear(16, 5)
    labels = {u.utt_id: [1, 2] for u in utterances}

    def log_probs(x):
        return layer(x).log_softmax(-1)

    healing = Healing(
        teacher,
        student,
        weights=Weights(2.0, 0.5, 0.25),
        log_probs=log_probs,
        labels=lambda names: [labels[name] for name in names],
    )
    with torch.no_grad():
        terms = healing(batch)
        ours, lengths = teacher(*batch[1:])
        theirs, _ = student(*batch[1:])
        pairs = ((theirs[3], ours[4]), (theirs[4], ours[5]))
        hidden = sum(mean_square(*pair, lengths) for pair in pairs) / 2
        posteriors = divergence(log_probs(theirs[4]), log_probs(ours[5]), lengths)
        ctc = ctc_loss(log_probs(theirs[4]), lengths, [[1, 2]] * 4)
    for name, value in (("hidden", hidden), ("posteriors", posteriors), ("ctc", ctc)):
        assert float(terms[name]) == pytest.approx(float(value), rel=1e-5)
    total = 2 * hidden + 0.5 * posteriors + 0.25 * ctc
    assert float(terms["loss"]) == pytest.approx(float(total), rel=1e-5)


def test_a_student_that_is_no_edit_differs_by_nothing(teacher, utterances):
    student = edited(teacher, LocalAttention(1, 10_000))
    with torch.no_grad():
        assert float(Healing(teacher, student.eval())(read_batch(utterances[:3]))["loss"]) == 0


@pytest.mark.parametrize("hidden", ["mse", "cosine"])
def test_real_speech_heals(teacher, utterances, hidden):
    student = edited(teacher, Drop(1), Share(3, 2))
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    original = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    batches, valid = SpeechBatches(utterances[:8], 2.0), SpeechBatches(utterances[8:], 8.0, None)
    healing = Healing(teacher, student, hidden=hidden)
    history = heal(healing, batches, Settings(max_updates=30, learning_rate=1e-2), valid)
    first, last = history[0]["valid"]["loss"], history[-1]["valid"]["loss"]
    assert last < 0.75 * first
    after = student.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("blocks.") for name in changed)
    assert student.blocks[1] is student.blocks[2]  # still one set of parameters
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, original[name])


def test_the_front_can_be_healed_too(teacher, utterances):
    student = edited(teacher, Drop(1))
    before = student.frontend.projection.weight.clone()
    healing = Healing(teacher, student, train_front=True)
    heal(healing, SpeechBatches(utterances, 2.0), Settings(max_updates=2))
    assert not torch.equal(student.frontend.projection.weight, before)


def test_what_does_not_fit_is_said(teacher):
    student = edited(teacher, Drop(1))
    with pytest.raises(ValueError, match="CTC layer"):
        Healing(teacher, student, weights=Weights(1.0, 1.0))
    with pytest.raises(ValueError, match="transcripts"):
        Healing(teacher, student, weights=Weights(1.0, 0.0, 1.0), log_probs=lambda x: x)
    with pytest.raises(ValueError, match="mse, cosine"):
        Healing(teacher, student, hidden="l1")
    with pytest.raises(ValueError, match="width 32.*width 16"):
        Healing(teacher, make_teacher(width=32))
    with pytest.raises(ValueError, match="weights"):
        Weights(0.0)
    with pytest.raises(ValueError, match="weights"):
        Weights(-1.0, 1.0)
