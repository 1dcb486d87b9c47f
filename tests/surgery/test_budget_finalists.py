"""Finalists of a budget: healed alike, chosen by what is left; compared plans of about one cost."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from budget_subjects import recordings, subject

from espnet_plugin.distill.settings import Settings
from espnet_plugin.stacks.batches import list_utterances
from espnet_plugin.surgery.actions import Drop, LocalAttention
from espnet_plugin.surgery.budget.baselines import fewer_blocks
from espnet_plugin.surgery.budget.compare import compared_plans, fewest
from espnet_plugin.surgery.budget.curve import curve_of, summary, write_curve
from espnet_plugin.surgery.budget.damage import Damage
from espnet_plugin.surgery.budget.goal import Budget
from espnet_plugin.surgery.budget.healed import Trial, healed_edit
from espnet_plugin.surgery.budget.latency import Clock
from espnet_plugin.surgery.budget.measure import Measurer
from espnet_plugin.surgery.budget.moves import Move, plan_of, swapped, untouched
from espnet_plugin.surgery.budget.proposal import Proposal, give_back
from espnet_plugin.surgery.budget.propose import Options, propose
from espnet_plugin.surgery.budget.search import Search

DROPS = [Move(b, b, (Drop(b),)) for b in range(4)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def measurer_of(one, folder, journal=None):
    utterances = list_utterances(recordings(folder / "data"))
    clock = Clock(rounds=3, seconds=0.01)
    return Measurer(one, utterances[:2], utterances[2:], [0.4], 1, clock, journal)


def trial_of(folder, updates=30, rate=0.03):
    speech = list_utterances(recordings(folder / "train", (50, 41, 58, 39, 45, 55), seed=8))
    return Trial(speech, Settings(max_updates=updates, learning_rate=rate), 0.3)


def shifting(size=3.0):
    """A stack whose block 2 adds the same to every frame."""
    one = subject("hubert", 4, idle=[2])
    bias = one.stack.blocks[2].feed_forward.contract.bias
    torch.manual_seed(1)
    bias.data.copy_(size * torch.randn(len(bias)))
    return one


def test_what_is_healed_best_is_chosen_though_it_does_more_damage_at_first(tmp_path):
    one, budget = shifting(), Budget.parse("parameters=0.85")  # one block must go
    first = propose(measurer_of(one, tmp_path), budget, Options(kinds=("drop",)))
    measurer = measurer_of(one, tmp_path)
    trial = trial_of(tmp_path, 60, 0.01)
    found = propose(measurer, budget, Options(kinds=("drop",), finalists=2, trial=trial))
    assert len(found.plan.actions) == len(first.plan.actions) == 1
    assert found.plan.actions != first.plan.actions
    assert measurer.damage(found.choice) > measurer.damage(first.choice)
    plan = plan_of(first.choice, one.description)  # healed anew, the other one is worse
    left = Damage(one, measurer.utterances)(healed_edit(one, plan, trial))
    assert found.healed[found.choice][0] < left
    assert "after 60 updates" in found.plan.because[0]
    assert not first.healed and first.trial is None


def test_compared_plans_are_healed_too_and_the_figures_are_written(tmp_path):
    journal = tmp_path / "measurements.jsonl"
    measurer = measurer_of(subject("hubert", 4), tmp_path, journal)
    kinds = ("drop", "prune_heads", "reuse_attention")
    trial = trial_of(tmp_path, 5, 1e-3)
    options = Options(kinds=kinds, longest=2, width=2, finalists=2, trial=trial)
    found = propose(measurer, Budget.parse("parameters=0.75"), options)
    assert {"uniform_drop", "drop", "prune_heads", "reuse_attention"} <= set(found.named)
    assert set(found.named.values()) <= set(found.healed) and found.choice in found.healed
    within = [choice for choice in found.healed if found.within(choice)]
    assert len(within) < len(found.healed)  # some cannot reach it, and are not chosen
    assert found.healed[found.choice][0] == min(found.healed[choice][0] for choice in within)
    plans = compared_plans(found)
    assert "after 5 updates of healing" in plans["uniform_drop"].because[0]

    curve = curve_of(found)
    assert curve["healing"]["max_updates"] == 5 and curve["healing"]["utterances"] == 6
    rows = {row["plan"]: row for row in curve["plans"]}
    chosen = rows[curve["chosen"]]
    assert (chosen["healed_damage"], chosen["healed_check_damage"]) == found.healed[found.choice]
    assert sum(row["healed_damage"] is not None for row in rows.values()) == len(found.healed)
    written = write_curve(curve, tmp_path / "work")
    assert written[1].read_text().splitlines()[0].endswith("healed_damage,healed_check_damage")
    table = summary(curve).splitlines()
    head = next(line for line in table if line.startswith("| plan"))
    assert "| healed | on other speech | moves |" in head
    assert {line.count("|") for line in table[3:]} == {head.count("|")}

    # all of it again from the journal; another healing keeps the other measurements
    known = len(journal.read_text().splitlines())
    again = propose(measurer_of(subject("hubert", 4), tmp_path, journal), found.budget, options)
    assert again.plan == found.plan and again.healed == found.healed
    assert len(journal.read_text().splitlines()) == known
    other = measurer_of(subject("hubert", 4), tmp_path, journal)
    longer = dataclasses.replace(trial, settings=Settings(max_updates=7))
    assert other.healed(found.choice, longer) != found.healed[found.choice]
    added = [json.loads(line) for line in journal.read_text().splitlines()[known:]]
    assert [entry["what"] for entry in added] == ["healed"]


def test_healing_leaves_the_model_alone_and_is_the_same_every_time(tmp_path):
    one = subject("hubert", 4)
    before = {name: tensor.clone() for name, tensor in one.stack.state_dict().items()}
    trial = trial_of(tmp_path, 4)
    plan = plan_of((DROPS[1],), one.description)
    first, second = (healed_edit(one, plan, trial) for _ in range(2))
    assert len(first.blocks) == 3 and not first.training
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    assert all(torch.equal(before[n], t) for n, t in one.stack.state_dict().items())
    assert not torch.equal(
        first.blocks[1].attention.out.weight, before["blocks.2.attention.out.weight"]
    )


def proposal(measurer, limit, costs, scale=1.0):
    search = Search(4, costs, {m: 0.1 for m in costs}, measurer.damage)
    search.rescale(scale)
    return Proposal(Budget.parse(f"parameters={limit}"), search, measurer, limit)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_as_few_blocks_are_dropped_as_need_be_whatever_was_predicted(scale, tmp_path):
    measurer = measurer_of(subject("hubert", 4), tmp_path)
    whole = measurer.sizes(())[0]
    block = measurer.sizes((DROPS[1],))[0] / whole - 1  # what one saves
    limit = 1 + 2.1 * block  # three must go
    found = proposal(measurer, limit, {m: block for m in DROPS}, scale)
    choice = fewest(found, fewer_blocks(4))
    assert sum(move.dropped for move in choice) == 3 and found.within(choice)
    found.limit = 0.01
    assert fewest(found, fewer_blocks(4)) == fewer_blocks(4)[-1]  # none is within it


def test_edits_are_given_back_until_the_limit_is_just_met(tmp_path):
    measurer = measurer_of(subject("hubert", 4), tmp_path)
    whole = measurer.sizes(())[0]
    block = measurer.sizes((DROPS[1],))[0] / whole - 1
    found = proposal(measurer, 1 + 1.5 * block, {m: block for m in DROPS})
    begin = swapped(swapped(swapped(untouched(4), DROPS[1]), DROPS[2]), DROPS[3])
    choice = give_back(found, begin)
    assert sum(move.dropped for move in choice) == 2 and found.within(choice)
    assert measurer.damage(choice) == min(
        measurer.damage(swapped(begin, Move(b, b))) for b in (1, 2, 3)
    )


def test_a_milder_edit_may_take_the_place_of_one(tmp_path):
    measurer = measurer_of(subject("hubert", 4), tmp_path)
    narrow, wide = (Move(1, 1, (LocalAttention(1, window),)) for window in (4, 30))
    found = proposal(measurer, 0.9999, {narrow: -0.2, wide: -0.1})
    found.limit = 1.0  # windows change no size: all are within it
    assert give_back(found, swapped(untouched(4), narrow)) == untouched(4)
    assert swapped(untouched(4), wide) in found.search.origins


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tolerance": -0.1}, "tolerance is from 0"),
        ({"tolerance": 0.5}, "tolerance is from 0"),
        ({"finalists": 3}, "need a healing"),
        ({"finalists": -1}, "need a healing"),
    ],
)
def test_options_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Options(**values)


def test_a_tolerance_lets_a_plan_in_that_just_misses_the_budget(tmp_path):
    measurer = measurer_of(subject("hubert", 4), tmp_path)
    one = measurer.sizes((DROPS[1],))[0] / measurer.sizes(())[0]
    budget = Budget("parameters", one - 0.001)
    options = {"kinds": ("drop",)}
    assert len(propose(measurer, budget, Options(**options)).plan.actions) == 2
    found = propose(measurer, budget, Options(**options, tolerance=0.01))
    assert len(found.plan.actions) == 1 and found.limit == pytest.approx(1.01 * budget.value)
