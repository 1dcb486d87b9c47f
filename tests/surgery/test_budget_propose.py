"""Budgets of real small stacks: planted truths, limits, resuming."""

from __future__ import annotations

import json

import pytest
import torch
from budget_subjects import recordings, subject

from espnet_plugin.stacks.batches import list_utterances
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.budget.compare import compared_plans
from espnet_plugin.surgery.budget.curve import curve_of, summary, write_curve
from espnet_plugin.surgery.budget.goal import Budget
from espnet_plugin.surgery.budget.latency import Clock, relative_times, speech_of
from espnet_plugin.surgery.budget.measure import Measurer
from espnet_plugin.surgery.budget.propose import BudgetError, Options, propose
from espnet_plugin.surgery.plan import BlockPlan


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def measurer_of(one, folder, journal=None, seconds=0.4, rounds=5):
    utterances = list_utterances(recordings(folder / "data"))
    clock = Clock(rounds=rounds, seconds=0.02)
    return Measurer(one, utterances[:2], utterances[2:], [seconds], 1, clock, journal)


FEW = Options(kinds=("drop", "prune_heads", "reuse_attention"), longest=2, width=3)


def test_a_block_that_does_nothing_is_dropped_first(tmp_path):
    one = subject("hubert", 4, idle=[2])
    measurer = measurer_of(one, tmp_path)
    found = propose(measurer, Budget.parse("parameters=0.85"), FEW)
    assert [(a.do, a.block) for a in found.plan.actions] == [("drop", 2)]
    assert measurer.damage(found.choice) == pytest.approx(0.0, abs=1e-6)
    assert "damage alone 0.0000" in found.plan.because[0]


@pytest.mark.parametrize("budget", ["parameters=0.6", "macs=0.7"])
def test_sizes_of_the_edited_stack_are_within_the_budget(budget, tmp_path):
    one = subject("hubert", 4)
    measurer = measurer_of(one, tmp_path)
    found = propose(measurer, Budget.parse(budget), FEW)
    edited = apply_plan(one.stack, found.plan)
    whole = sum(p.numel() for p in one.stack.parameters())
    left = sum(p.numel() for p in edited.parameters()) / whole
    sizes, before = measurer.sizes(found.choice), measurer.sizes(())
    assert sizes[0] / before[0] == pytest.approx(left)
    which = ["parameters", "macs"].index(budget.split("=")[0])
    assert sizes[which] / before[which] <= float(budget.split("=")[1])
    # nothing that was measured and is within it does less damage
    within = [
        choice
        for choice in found.search.origins
        if measurer.sizes(choice)[which] / before[which] <= found.limit
    ]
    assert measurer.damage(found.choice) == min(map(measurer.damage, within))


def test_the_edited_stack_is_as_fast_as_asked_and_an_idle_block_goes_first(tmp_path):
    one = subject("hubert", 6, idle=[3])
    measurer = measurer_of(one, tmp_path, rounds=9)
    found = propose(measurer, Budget.parse("block_speed=1.8"), FEW)
    assert ("drop", 3) in [(a.do, getattr(a, "block", None)) for a in found.plan.actions]
    assert found.times[found.choice][1] <= found.limit
    edited = apply_plan(one.stack, found.plan)
    speech = speech_of(measurer.utterances, 0.4, 1)
    again = relative_times(one.stack, {"edited": edited}, speech, Clock(15, 0.1))["edited"][1]
    assert again <= 1.25 * found.limit  # timed anew, while others load the machine


def test_a_budget_out_of_reach_says_what_can_be_reached(tmp_path):
    measurer = measurer_of(subject("hubert", 3), tmp_path)
    expected = r"parameters=0\.01 cannot be met .* can be reached is parameters=0\.\d+ \(.*drop"
    with pytest.raises(BudgetError, match=expected):
        propose(measurer, Budget.parse("parameters=0.01"), FEW)
    with pytest.raises(BudgetError, match=r"speed=1000 .*speed=\d.*% of the time is spent out"):
        propose(measurer, Budget.parse("speed=1000"), FEW)


def test_a_search_that_was_stopped_goes_on_and_finds_the_same(tmp_path, monkeypatch):
    journal = tmp_path / "measurements.jsonl"
    budget = Budget.parse("speed=1.3")
    options = Options(kinds=("drop", "prune_heads"), width=3, compare=True)
    first = propose(measurer_of(subject("hubert", 4), tmp_path, journal), budget, options)
    curve = curve_of(first)
    lines = journal.read_text().splitlines()
    # stopped halfway, in the middle of a line
    journal.write_text("\n".join(lines[: len(lines) // 2]) + '\n{"what": "dam')
    resumed = measurer_of(subject("hubert", 4), tmp_path, journal)
    known = [json.loads(line) for line in lines[1:]]
    assert len(resumed._journal.entries) == len(lines) // 2 - 1
    # with all measurements there again nothing is measured
    journal.write_text("\n".join(lines) + "\n")
    again = measurer_of(subject("hubert", 4), tmp_path, journal)
    monkeypatch.setattr(again, "_note", lambda what, *rest: pytest.fail(f"measured {what}"))
    second = propose(again, budget, options)
    assert second.plan == first.plan and curve_of(second) == curve
    assert {entry["what"] for entry in known} >= {"damage", "times", "time cost", "check"}


def test_a_journal_of_another_model_is_begun_anew(tmp_path):
    journal = tmp_path / "measurements.jsonl"
    first = measurer_of(subject("hubert", 3), tmp_path, journal)
    first.damage(())
    other = subject("hubert", 3)
    other.stack.blocks[1].attention.out.weight.data.mul_(2.0)
    assert measurer_of(subject("hubert", 3), tmp_path, journal)._known
    assert not measurer_of(other, tmp_path, journal)._known


def test_the_comparison_and_the_curve_are_written(tmp_path):
    one = subject("hubert", 4)
    measurer = measurer_of(one, tmp_path)
    options = Options(kinds=FEW.kinds, longest=2, width=3, compare=True)
    found = propose(measurer, Budget.parse("parameters=0.7"), options)
    names = {"uniform_drop", "block_influence", "drop", "reuse_attention", "prune_heads"}
    assert set(found.named) == names
    least = min(measurer.damage(c) for c in found.named.values() if found.within(c))
    assert measurer.damage(found.choice) <= least
    plans = compared_plans(found)
    assert {name.split("/")[-1] for name in plans} == names
    assert "short/reuse_attention" in plans  # queries and keys are not a third of the stack
    for name, plan in plans.items():
        left = sum(p.numel() for p in apply_plan(one.stack, plan).parameters())
        assert (left <= 0.7 * measurer.sizes(())[0]) == (not name.startswith("short/"))

    curve = curve_of(found)
    rows = {row["plan"]: row for row in curve["plans"]}
    assert len(rows) == len(curve["plans"]) >= len(found.search.origins)
    assert set(curve["compared"].values()) | {curve["chosen"]} <= set(rows)
    chosen = rows[curve["chosen"]]
    assert chosen["within"] and chosen["check_damage"] > 0
    assert chosen["damage"] == measurer.damage(found.choice)
    written = write_curve(curve, tmp_path / "work")
    assert json.loads(written[0].read_text()) == curve
    table = written[1].read_text().splitlines()
    assert len(table) == 1 + len(rows) and table[0].startswith("plan,origin,moves")
    assert all(path.stat().st_size > 100 for path in written)
    assert "| chosen | yes |" in summary(curve) and "| reuse_attention | no |" in summary(curve)


def test_summary_of_block_speed_shows_the_blocks_too():
    row = {"plan": "k", "within": True, "speed": 1.6, "parameters": 1e6, "macs": 2e6,
           "damage": 0.1, "check_damage": None, "moves": ["1 drop"]}  # fmt: skip
    curve = {"damage": "KL", "capacity": None, "healing": None, "chosen": "k",
             "compared": {}, "plans": [row],
             "budget": {"metric": "block_speed", "value": 2.0},
             "original": {"share_outside_blocks": 0.25}}  # fmt: skip
    _, _, head, line, chosen = summary(curve).splitlines()
    assert head.startswith("| plan | in budget | whole, times as fast | blocks, times as fast |")
    assert chosen.startswith("| chosen | yes | 1.60 | 2.00 | 1.000 |")  # 0.625 = 0.25 + 0.75 / 2
    assert head.count("|") == line.count("|") == chosen.count("|")


def test_operations_of_a_wavlm_stack_can_be_the_budget(tmp_path):
    one = subject("wavlm", 2)
    found = propose(measurer_of(one, tmp_path), Budget.parse("macs=0.9"), FEW)
    assert isinstance(found.plan, BlockPlan) and found.plan.actions


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast=2", "expected one of speed=NUMBER"),
        ("speed", "expected one of"),
        ("speed=two", "expected one of"),
        ("speed=0.5", "times as fast, above 1, not 0.5"),
        ("speed=inf", "above 1"),
        ("parameters=2", "share left, between 0 and 1, not 2"),
        ("macs=nan", "expected one of"),
    ],
)
def test_budgets_that_ask_for_nothing_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Budget.parse(text)


def test_a_budget_is_a_share_of_the_cost():
    assert Budget.parse("speed=2").cost(0.3) == 0.5
    assert Budget.parse("block_speed=2").cost(0.2) == pytest.approx(0.6)
    assert Budget.parse("parameters=0.4").cost() == 0.4
    for text in ("speed=2", "block_speed=3", "macs=0.3"):
        budget = Budget.parse(text)
        assert budget.reached(budget.cost(0.25), 0.25) == pytest.approx(budget.value)
        assert str(budget) == text
