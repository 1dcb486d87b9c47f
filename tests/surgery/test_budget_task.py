"""Plans that are judged by what the model can still do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from budget_subjects import make_idle, recordings, subject
from tiny_models import ENCODER_CONF, write_experiment

from espnet_plugin.analysis.suite import subject as suite
from espnet_plugin.atomic import write_json
from espnet_plugin.decode.decoder import CtcDecoder
from espnet_plugin.decode.text import TokenText
from espnet_plugin.score.counts import align, count_errors
from espnet_plugin.stacks.batches import list_utterances
from espnet_plugin.surgery.actions import Drop, LocalAttention, PruneHeads
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.budget.damage import TIE, Damage
from espnet_plugin.surgery.budget.goal import Budget
from espnet_plugin.surgery.budget.latency import Clock
from espnet_plugin.surgery.budget.measure import Measurer
from espnet_plugin.surgery.budget.moves import Move
from espnet_plugin.surgery.budget.propose import Options, propose
from espnet_plugin.surgery.budget.task import task_of
from espnet_plugin.surgery.plan import BlockPlan
from espnet_plugin.surgery.subject import open_subject, split_utterances

SAID = ("one", "two", "one", "two", "two", "one")


def speech(folder):
    recordings(folder, (60, 37, 48, 52, 44, 41))
    (folder / "text").write_text("".join(f"u{n} {word}\n" for n, word in enumerate(SAID)))
    return list_utterances(folder)


def choice_of(action, blocks):
    """One block edited, the others kept."""
    return tuple(Move(b, b, (action,) if b == action.block else ()) for b in range(blocks))


def means(stack, utterances):
    rows = []
    with torch.no_grad():
        for utterance in utterances:
            wave = torch.from_numpy(soundfile.read(utterance.path, dtype="float32")[0])[None]
            rows.append(stack.output(wave)[0][0].mean(0).double().numpy())
    return np.stack(rows)


def analysis_of(one, folder, utterances):
    """A word probe that reads every utterance rightly: more dimensions than utterances."""
    features = means(one.stack, utterances)
    features = np.concatenate([features, np.ones((len(features), 1))], 1)
    signs = np.where(np.array(SAID) == "two", 1.0, -1.0)
    weight = np.linalg.lstsq(features, signs, rcond=None)[0]
    folder.mkdir()
    np.savez(
        folder / "word_probe.npz",
        weight=np.stack([-weight[:-1], weight[:-1]])[None].astype(np.float32),
        bias=np.array([[-weight[-1], weight[-1]]], dtype=np.float32),
        classes=np.array(["one", "two"]),
    )
    model = suite.Subject(one.path, one.stack).describe()
    write_json(folder / "word_probe.json", {"model": model, "held_out": []})
    return folder


def test_damage_is_what_a_probe_no_longer_reads(tmp_path):
    one = subject("hubert", 4)
    utterances = speech(tmp_path / "data")
    analysis = analysis_of(one, tmp_path / "analysis", utterances)
    with np.load(analysis / "word_probe.npz") as arrays:
        weight, bias = arrays["weight"][-1], arrays["bias"][-1]

    def wrong(stack):
        said = (means(stack, utterances) @ weight.T + bias).argmax(1)
        return sum(("one", "two")[n] != word for n, word in zip(said, SAID, strict=True))

    task = task_of("word", one, tmp_path / "data", analysis)
    measurer = Measurer(one, utterances, [], [0.4], clock=Clock(rounds=2), task=task)
    assert measurer.unit == "share of utterances whose word a probe reads"
    assert wrong(one.stack) == 0 and measurer.capacity() == 1
    assert measurer.damage(choice_of(Drop(9), 4)) == pytest.approx(0, abs=1e-9)
    lost = []
    for action in (PruneHeads(3, (0,)), PruneHeads(2, (1, 2)), LocalAttention(3, 8), Drop(1)):
        edited = apply_plan(one.stack, BlockPlan(one.description, (action,)))
        lost.append(measurer.damage(choice_of(action, 4)))
        divergence = Damage(one, utterances)(edited)
        wanted = wrong(edited) / len(SAID) + TIE * divergence
        assert lost[-1] == pytest.approx(wanted, abs=1e-9) and 0 < divergence < 2
    assert max(lost) > 0.1


def test_a_journal_is_of_one_probe_and_of_one_set_of_labels(tmp_path):
    one = subject("hubert", 4)
    folder = tmp_path / "data"
    utterances = speech(folder)
    analysis = analysis_of(one, tmp_path / "analysis", utterances)

    def conditions():
        task = task_of("word", one, folder, analysis)
        return Measurer(one, utterances, [], [0.4], clock=Clock(rounds=2), task=task).conditions()

    first = conditions()
    assert conditions() == first
    (folder / "text").write_text((folder / "text").read_text().replace("u0 one", "u0 two"))
    second = conditions()
    with np.load(analysis / "word_probe.npz") as arrays:
        changed = {**arrays, "bias": arrays["bias"] + 1}
    np.savez(analysis / "word_probe.npz", **changed)
    third = conditions()
    assert len({tuple(map(str, c.values())) for c in (first, second, third)}) == 3


def test_a_plan_keeps_what_the_probe_reads(tmp_path):
    one = subject("hubert", 4, idle=[2])
    utterances = speech(tmp_path / "data")
    task = task_of("word", one, tmp_path / "data", analysis_of(one, tmp_path / "an", utterances))
    measurer = Measurer(one, utterances, [], [0.4], clock=Clock(rounds=2), task=task)
    found = propose(measurer, Budget.parse("parameters=0.85"), Options(kinds=("drop",), width=3))
    assert measurer.damage(found.choice) < 1e-4
    assert any(
        "share of utterances whose word a probe reads" in line for line in found.plan.because
    )
    edited = apply_plan(one.stack, found.plan)
    assert sum(p.numel() for p in edited.parameters()) <= 0.85 * sum(
        p.numel() for p in one.stack.parameters()
    )


@pytest.mark.parametrize("what", ["greedy", "token"])
def test_damage_is_the_words_that_are_lost(what, tmp_path):
    one = open_subject(write_experiment(tmp_path / "exp", encoder_conf=ENCODER_CONF))
    folder = tmp_path / "data"
    utterances = list_utterances(recordings(folder, frames=(500, 700, 900)))
    training = one.experiment.args
    text = TokenText(one.experiment.token_list, training.token_type, training.bpemodel)
    decoder = CtcDecoder(one.experiment.model, text, "greedy")

    def say():
        return [decoder([soundfile.read(u.path, dtype="float32")[0]])[0] for u in utterances]

    wanted = [said.text for said in say()]  # so that the unedited model gets most of it right

    def rate():
        errors = total = 0
        for reference, said in zip(wanted, say(), strict=True):
            pair = reference.split(), said.text.split()
            if what == "token":
                pair = decoder.text.tokenizer.text2tokens(reference), said.tokens
            counts = count_errors(align(*pair))
            errors, total = errors + counts.errors, total + counts.tokens
        return errors / total

    before = rate()
    (folder / "text").write_text("".join(f"u{n} {said}\n" for n, said in enumerate(wanted)))
    task = task_of(what, one, folder)
    measurer = Measurer(one, utterances, [], [1.0], clock=Clock(rounds=2), task=task)
    damage = measurer.damage(choice_of(Drop(1), len(one.stack.blocks)))

    one.experiment.model.encoder.encoders[1] = Nothing()
    assert damage == pytest.approx(rate() - before, abs=1e-4) and damage > 0.01


class Nothing(torch.nn.Module):
    """In the place of a block of ESPnet's: gives what it gets."""

    def forward(self, x, mask, *rest):
        return x, mask


def test_what_a_task_needs_is_said(tmp_path):
    one = subject("hubert", 2)
    with pytest.raises(ValueError, match="unknown capacity 'wer' .one of greedy, token, phone"):
        task_of("wer", one, tmp_path)
    with pytest.raises(ValueError, match="the capacity speaker needs the directory of an analysis"):
        task_of("speaker", one, tmp_path)
    with pytest.raises(ValueError, match="small: recognises nothing; name an ESPnet experiment"):
        task_of("greedy", one, tmp_path)
    make_idle(one.stack, 1)
    speech(tmp_path)
    with pytest.raises(ValueError, match="word_probe.json: not there; name the directory of an an"):
        task_of("word", one, tmp_path, tmp_path / "no")


def test_what_the_probe_was_fitted_on_does_not_count(tmp_path):
    one = subject("hubert", 2)
    utterances = speech(tmp_path / "data")
    analysis = analysis_of(one, tmp_path / "an", utterances)
    content = json.loads((analysis / "word_probe.json").read_text())
    write_json(analysis / "word_probe.json", {**content, "held_out": ["u1", "u4", "u5"]})
    task = task_of("word", one, tmp_path / "data", analysis)
    assert task.counted == {"u1", "u4", "u5"}
    chosen, others, _ = split_utterances(one, tmp_path / "data", 2, task.counted)
    assert [u.utt_id for u in (*chosen, *others)] == ["u1", "u4", "u5"]
