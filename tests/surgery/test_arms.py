"""Plans that avoid abnormal blocks, and plans that keep some blocks."""

from __future__ import annotations

import pytest

from espnet_plugin.surgery.actions import Drop, LocalAttention, Share
from espnet_plugin.surgery.arms import filter_plan, keep_plan
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
