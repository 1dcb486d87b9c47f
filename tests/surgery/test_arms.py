"""Plans that avoid abnormal blocks, and plans that keep some blocks."""

from __future__ import annotations

import pytest

from espnet_plugin.surgery.actions import Drop, LocalAttention, Share
from espnet_plugin.surgery.arms import (
    arm_plans,
    control_plan,
    filter_plan,
    keep_plan,
    read_diagnosis,
)
from espnet_plugin.surgery.plan import PlanError


def test_each_strategy_does_the_same_to_all_abnormal_blocks():
    assert filter_plan("wav2vec2", 12, [9, 3], "drop").actions == (Drop(9), Drop(3))
    local = filter_plan("wav2vec2", 12, [9, 3], "local", window=8)
    assert local.actions == (LocalAttention(9, 8), LocalAttention(3, 8))
    assert (local.stack.family, local.stack.blocks) == ("wav2vec2", 12)


def test_the_nearest_normal_block_is_shared_the_lower_of_two():
    plan = filter_plan("hubert", 6, [0, 1, 3, 5], "share")
    assert plan.actions == (Share(0, 2), Share(1, 2), Share(3, 2), Share(5, 4))


@pytest.mark.parametrize(
    ("abnormal", "strategy", "message"),
    [
        ([1], "remove", "strategy must be one of drop, local, share, not 'remove'"),
        ([0, 1, 2, 3], "share", "every block is abnormal"),
    ],
)
def test_what_cannot_be_is_one_line(abnormal, strategy, message):
    with pytest.raises(ValueError, match=message):
        filter_plan("wav2vec2", 4, abnormal, strategy)


def test_a_block_that_is_not_there_is_a_plan_error():
    with pytest.raises(PlanError, match="12"):
        filter_plan("wav2vec2", 12, [12], "drop")


def test_all_other_blocks_are_dropped():
    assert keep_plan("conformer", 5, [4, 0, 2]).actions == (Drop(1), Drop(3))
    assert keep_plan("conformer", 2, [0, 1]).actions == ()


@pytest.mark.parametrize("keep", [[], [0, 5], [-1]])
def test_blocks_to_keep_that_are_not_there_are_named(keep):
    with pytest.raises(ValueError, match="keep_blocks: expected some of the blocks 0 to 4, not"):
        keep_plan("conformer", 5, keep)


def test_the_control_is_the_same_edit_on_as_many_other_blocks():
    plan = control_plan("wav2vec2", 12, [9, 3], "local", window=8, seed=5)
    drawn = [action.block for action in plan.actions]
    assert plan.actions == tuple(LocalAttention(block, 8) for block in drawn)
    assert len(set(drawn)) == 2 and not {3, 9} & set(drawn)
    dropped = control_plan("wav2vec2", 12, [3, 9], "drop", seed=5)
    assert [action.block for action in dropped.actions] == drawn  # one draw for all edits
    assert plan.because[0].startswith(f"block {drawn[0]}: not abnormal, drawn with seed 5")
    draws = {
        tuple(a.block for a in control_plan("wav2vec2", 12, [3, 9], "drop", seed=s).actions)
        for s in range(20)
    }
    assert len(draws) > 5


def test_the_control_shares_blocks_that_are_neither_abnormal_nor_drawn():
    for seed in range(10):
        plan = control_plan("hubert", 5, [1, 4], "share", seed=seed)
        drawn = {action.block for action in plan.actions}
        (left,) = {0, 2, 3} - drawn
        assert {action.source for action in plan.actions} == {left}


def test_the_five_arms_are_made_together():
    arms = arm_plans("wav2vec2", 12, [3, 7], window=24, seed=1, model="m.pt")
    assert list(arms) == ["as_it_is", "local", "share", "drop", "control"]
    assert arms["as_it_is"].actions == ()
    assert arms["local"] == filter_plan("wav2vec2", 12, [3, 7], "local", 24, "m.pt")
    assert arms["control"] == control_plan("wav2vec2", 12, [3, 7], "drop", 24, 1, "m.pt")
    assert arms["drop"].because == (
        "block 3: named as abnormal; dropped [I]",
        "block 7: named as abnormal; dropped [I]",
    )
    assert all(plan.stack.model == "m.pt" for plan in arms.values())
    shared = arm_plans("wav2vec2", 12, [3, 7], control="share")["control"]
    assert {action.do for action in shared.actions} == {"share"}


@pytest.mark.parametrize(
    ("abnormal", "strategy", "message"),
    [
        ([0, 1, 2], "drop", "3 of 4 blocks are abnormal, not as many others"),
        ([0, 1], "share", "neither abnormal nor drawn is left"),
        ([4], "drop", "block 4 is not in the stack"),
        ([1, 1], "drop", "block 1 is named for twice drop"),
    ],
)
def test_a_control_that_cannot_be_is_one_line(abnormal, strategy, message):
    with pytest.raises(ValueError, match=message):
        control_plan("wav2vec2", 4, abnormal, strategy)


def test_arms_need_abnormal_blocks():
    with pytest.raises(ValueError, match="no abnormal blocks"):
        arm_plans("wav2vec2", 12, [])


def test_a_diagnosis_says_which_blocks(tmp_path):
    path = tmp_path / "diagnosis.json"
    path.write_text('{"family": "hubert", "stack_blocks": 12, "candidates": [3, 7], "flags": []}')
    assert read_diagnosis(path) == ("hubert", 12, [3, 7])
    path.write_text('{"family": "hubert", "stack_blocks": 12, "candidates": []}')
    with pytest.raises(ValueError, match=r"diagnosis\.json: names no blocks"):
        read_diagnosis(path)
    for text in ("[]", "{}", "no"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"diagnosis\.json: is no diagnosis"):
            read_diagnosis(path)
