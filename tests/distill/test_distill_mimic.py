"""Both stages of mimicking."""

from __future__ import annotations

import pytest
import torch
from small_teachers import edited, make_teacher
from torch import nn

from espnet_plugin.analysis.states.structure import first_similarity_block
from espnet_plugin.distill.batches import SpeechBatches
from espnet_plugin.distill.losses import mean_square
from espnet_plugin.distill.mimic import (
    Mimicking,
    block_cka,
    default_places,
    teach_mimic,
)
from espnet_plugin.distill.settings import Settings
from espnet_plugin.distill.task import train_task, without_blocks
from espnet_plugin.stacks.batches import read_batch
from espnet_plugin.surgery.actions import Mimic
from espnet_plugin.surgery.mimic import MimicBlock

WHOLE = Mimic((0, 4), 32, 2)


def hidden_of(stack, batch):
    with torch.no_grad():
        return stack.eval()(*batch[1:])


@pytest.mark.parametrize("norm_first", [False, True])
def test_stage_1_is_the_formula(utterances, norm_first):
    teacher = make_teacher(norm_first=norm_first)
    student = edited(teacher, WHOLE).eval()
    batch = read_batch(utterances[:4])
    with torch.no_grad():
        terms = Mimicking(teacher, student, {0: [1, 4]})(batch)
        state = teacher.embed(*batch[1:])
        raw = []
        for place in range(5):
            state = teacher.step(place, state)
            raw.append(state.x)
        z, lengths = teacher.frontend(*batch[1:])  # no positions: the projected features
        a, b = student.blocks[0].outputs(z)
    first, second = mean_square(a, raw[1], lengths), mean_square(b, raw[4], lengths)
    assert float(terms["block_1"]) == pytest.approx(float(first), rel=1e-5)
    assert float(terms["block_4"]) == pytest.approx(float(second), rel=1e-5)
    assert float(terms["loss"]) == pytest.approx(float(first + second), rel=1e-5)


def test_a_mimic_among_blocks_sees_what_the_replaced_ones_saw(teacher, utterances):
    student = edited(teacher, Mimic((1, 2), 8, 1), Mimic((3, 4), 8, 2, "transformer")).eval()
    batch = read_batch(utterances[:3])
    places = {1: [2], 2: [3, 4]}
    with torch.no_grad():
        terms = Mimicking(teacher, student, places)(batch)
    ours, lengths = hidden_of(teacher, batch)
    theirs, _ = hidden_of(student, batch)
    assert torch.equal(theirs[1], ours[1])
    expected = mean_square(theirs[2], ours[3], lengths)
    assert float(terms["block_2"]) == pytest.approx(float(expected), rel=1e-5)
    expected = mean_square(theirs[3], ours[5], lengths)
    assert float(terms["block_4"]) == pytest.approx(float(expected), rel=1e-5)
    assert sorted(terms) == ["block_2", "block_3", "block_4", "loss"]


def test_a_planted_stack_is_learnt(teacher, utterances):
    """The teacher's own blocks are two layers of the mimic's kind; positions are without effect."""
    torch.manual_seed(1)
    planted = edited(teacher, Mimic((0, 1), 24, 1), Mimic((2, 4), 24, 1)).eval()
    planted.frontend.positions = planted.norm = None
    for block in planted.blocks:
        nn.init.normal_(block.layers[0].expand.weight, std=0.3)
    student = edited(planted, Mimic((0, 1), 64, 2))
    batches, valid = SpeechBatches(utterances[:9], 2.0), SpeechBatches(utterances[9:], 8.0, None)
    settings = Settings(max_updates=300, learning_rate=3e-2, interval=300)
    history = teach_mimic(student, planted, batches, {0: [0, 1]}, settings, valid)
    first, last = history[0]["valid"]["loss"], history[-1]["valid"]["loss"]
    assert last < 0.1 * first


def test_stage_1_trains_the_mimic_alone(teacher, utterances):
    student = edited(teacher, Mimic((2, 4), 8, 2))
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    batches = SpeechBatches(utterances, 2.0)
    history = teach_mimic(student, teacher, batches, settings=Settings(max_updates=3))
    after = student.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("blocks.2.layers.") for name in changed)
    assert {"loss", "block_4"} < set(history[-1])


def test_the_first_similarity_block_is_found(teacher, utterances):
    similarity = torch.full((6, 6), 0.2)
    similarity[:4, :4] = similarity[4:, 4:] = 0.9
    assert first_similarity_block(similarity) == 3
    assert first_similarity_block(similarity[3:, 3:]) == 0
    assert first_similarity_block(similarity[:2, :2]) == 0
    assert first_similarity_block(similarity[:1, :1]) == 0
    batches = SpeechBatches(utterances, 6.0)
    cka = block_cka(teacher, batches, 3)
    assert cka.shape == (5, 5) and torch.allclose(cka.diagonal(), torch.ones(5).double())
    student = edited(teacher, Mimic((0, 0), 8, 1), Mimic((1, 4), 8, 2))
    expected = 1 + first_similarity_block(block_cka(teacher, batches)[1:, 1:])
    assert default_places(student, teacher, batches) == {0: [0], 1: [expected, 4]}


def test_one_frame_is_enough(teacher):
    student = edited(teacher, WHOLE)
    samples = teacher.frontend.shortest
    batch = (["a", "b"], torch.randn(2, samples), torch.tensor([samples, samples]))
    terms = Mimicking(teacher, student, {0: [0, 4]})(batch)
    terms["loss"].backward()
    gradient = student.blocks[0].layers[0].expand.weight.grad
    assert bool(torch.isfinite(gradient).all()) and gradient.any()


def test_places_that_do_not_fit_are_said(teacher):
    student = edited(teacher, WHOLE)
    for places, message in (
        ({1: [0, 4]}, "block 1 of the student is no mimic"),
        ({0: [4]}, "2 layers learns from 2 blocks, not 1"),
        ({0: [0, 5]}, "blocks 0 to 4, and not 5"),
        ({}, "no mimic"),
    ):
        with pytest.raises(ValueError, match=message):
            Mimicking(teacher, student, places)


class Loudness:
    """Whether an utterance is louder than most, told by a linear layer from the mean frame."""

    def __init__(self, head, utterances):
        self.head = head
        power = {u.utt_id: float(read_batch([u])[1].square().mean()) for u in utterances}
        middle = sorted(power.values())[len(power) // 2]
        self.loud = {name: float(value >= middle) for name, value in power.items()}

    def __call__(self, x, lengths, names):
        assert not x[0, int(lengths[0]) :].any()
        score = self.head(x.sum(1) / lengths[:, None]).squeeze(-1)
        target = torch.tensor([self.loud[name] for name in names])
        return nn.functional.binary_cross_entropy_with_logits(score, target)


@pytest.mark.parametrize("frozen", [True, False])
def test_stage_2_trains_the_head_and_the_mimic_unless_frozen(teacher, utterances, frozen):
    student, head = edited(teacher, WHOLE), nn.Linear(16, 1)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    weight = head.weight.clone()
    batches = SpeechBatches(utterances, 2.0)
    settings = Settings(max_updates=20, learning_rate=2e-2, interval=10)
    history = train_task(
        student, head, Loudness(head, utterances), batches, settings, frozen, batches
    )
    assert history[-1]["valid"]["loss"] < history[0]["valid"]["loss"]
    assert not torch.equal(head.weight, weight)
    changed = {
        n for n, tensor in student.state_dict().items() if not torch.equal(before[n], tensor)
    }
    assert bool(changed) != frozen and all(name.startswith("blocks.0.") for name in changed)


def test_the_control_without_a_mimic_is_the_head_on_the_projected_features(teacher, utterances):
    bare, head, seen = without_blocks(teacher), nn.Linear(16, 1), []
    loudness = Loudness(head, utterances)

    def task(x, lengths, names):
        seen.append((x.detach(), lengths, names))
        return loudness(x, lengths, names)

    train_task(bare, head, task, SpeechBatches(utterances, 2.0), Settings(max_updates=1))
    x, lengths, names = seen[0]
    batch = read_batch([u for name in names for u in utterances if u.utt_id == name])
    with torch.no_grad():
        z, frames = teacher.frontend(*batch[1:])
    assert torch.equal(frames, lengths)
    for row, expected, length in zip(x, z, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:length], expected[:length])
    assert len(teacher.blocks) == 5 and teacher.frontend.positions is not None
    assert not any(isinstance(module, MimicBlock) for module in bare.modules())
