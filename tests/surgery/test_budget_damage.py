"""Damage is what it is said to be, and running from the first touched block changes nothing."""

from __future__ import annotations

import pytest
import torch
from budget_subjects import recordings, subject
from small_stacks import WAV2VEC2
from tiny_models import ENCODER_CONF, write_experiment

from espnet_plugin.stacks.asr import log_probs
from espnet_plugin.stacks.batches import list_utterances, read_batch
from espnet_plugin.surgery.actions import Drop, LocalAttention, PruneHeads, ReuseAttention, Share
from espnet_plugin.surgery.budget.damage import Damage, first_touched
from espnet_plugin.surgery.budget.sizes import shared_edit, sizes_of
from espnet_plugin.surgery.plan import BlockPlan
from espnet_plugin.surgery.subject import open_subject

PLANS = [
    (Drop(3),),
    (Drop(2), LocalAttention(3, 5)),
    (ReuseAttention(3, 2),),
    (PruneHeads(2, (0, 1, 2, 3)), Share(3, 1)),
    (PruneHeads(1, (2,)),),
    (),
]


@pytest.mark.parametrize("kind", WAV2VEC2)
@pytest.mark.parametrize("actions", PLANS)
def test_it_is_the_mean_over_valid_frames_of_one_minus_the_cosine(kind, actions, tmp_path):
    one = subject(kind)
    padded = kind == "hubert"  # the group norm of the others sees padding
    frames = (60, 37, 48, 52) if padded else (48, 48, 48)
    utterances = list_utterances(recordings(tmp_path, frames))
    damage = Damage(one, utterances, batch_seconds=0.15)  # several batches
    edited = shared_edit(one.stack, BlockPlan(one.description, actions))
    cosines = []
    with torch.no_grad():
        for utterance in utterances:
            _, speech, _ = read_batch([utterance])
            before, after = one.stack.output(speech)[0][0], edited.output(speech)[0][0]
            cosines.append(torch.nn.functional.cosine_similarity(before, after, dim=-1))
    expected = float(1 - torch.cat(cosines).double().mean())
    found = damage(edited, first_touched(actions))
    assert found == pytest.approx(expected, rel=1e-4, abs=2e-6)
    assert found == pytest.approx(damage(edited, 0), abs=1e-7)


def test_with_a_ctc_layer_it_is_the_divergence_of_the_posteriors(tmp_path):
    conf = {**ENCODER_CONF, "num_blocks": 3}
    one = open_subject(write_experiment(tmp_path / "exp", encoder_conf=conf))
    folder = tmp_path / "data"
    utterances = list_utterances(recordings(folder, frames=(500, 700, 900)))
    damage = Damage(one, utterances, batch_seconds=0.1)
    edited = shared_edit(one.stack, BlockPlan(one.description, (Drop(1), ReuseAttention(2, 0))))
    total, frames = 0.0, 0
    with torch.no_grad():
        for utterance in utterances:
            _, speech, lengths = read_batch([utterance])
            p, _ = log_probs(one.experiment, one.stack, speech, lengths)
            q, _ = log_probs(one.experiment, edited, speech, lengths)
            total += float(torch.nn.functional.kl_div(q, p, log_target=True, reduction="sum"))
            frames += p.size(1)
    assert total / frames > 0.01
    assert damage(edited, 0) == pytest.approx(total / frames, rel=1e-3)
    assert damage(one.stack) == pytest.approx(0.0, abs=1e-6)


def test_an_edit_that_shares_parameters_has_the_sizes_of_one_that_does_not(tmp_path):
    one = subject("wavlm")
    plan = BlockPlan(one.description, (Drop(0), PruneHeads(1, (1, 2)), Share(3, 2)))
    speech = torch.randn(1, 1200)
    lengths = torch.tensor([1200])
    edited = shared_edit(one.stack, plan)
    kept = {id(p) for p in one.stack.parameters()}
    assert sum(id(p) in kept for p in edited.parameters()) > 20
    parameters, macs = sizes_of(edited, speech, lengths)
    whole, whole_macs = sizes_of(one.stack, speech, lengths)
    assert parameters == sum(p.numel() for p in edited.parameters()) < whole
    assert 0 < macs < whole_macs
    assert len(one.stack.blocks) == 4  # left as it was
