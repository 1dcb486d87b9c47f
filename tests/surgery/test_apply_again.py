"""Edited stacks: saved, loaded, edited again, and what a second plan may not overlook."""

from __future__ import annotations

import pytest
import torch
from small_stacks import HEADS, KINDS, assert_close, plan_for, run, small_stack

from espnet_plugin.stacks.errors import StackError
from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.actions import (
    Drop,
    LocalAttention,
    Mimic,
    PruneHeads,
    ReuseAttention,
    Share,
)
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, PlanError, StackDescription


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_comes_back_from_its_file_to_the_bit(kind, tmp_path):
    stack = small_stack(kind, blocks=8, dtype=torch.float32)
    edited = apply_plan(
        stack,
        plan_for(
            stack,
            Drop(0),
            LocalAttention(1, 9),
            ReuseAttention(2, 1),
            PruneHeads(3, (0, 2)),
            Share(4, 3),
            LocalAttention(4, 6),
            Mimic((5, 6), 5, 2),
        ),
    )
    edited.save(tmp_path / "stack.pt")
    loaded = Stack.load(tmp_path / "stack.pt")
    assert type(loaded) is type(stack) and not loaded.training
    assert loaded.plans == edited.plans and loaded.plan == edited.plans[-1]
    assert loaded.windows == edited.windows == (9, None, None, 6, None, None)
    assert loaded.block_numbers == edited.block_numbers == (1, 2, 3, 4, 6, 7)
    assert loaded.state_dict().keys() == edited.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(run(loaded), run(edited), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_plan_counts_the_blocks_that_are_left(kind, tmp_path):
    stack = small_stack(kind, blocks=6, dtype=torch.float32)
    first = plan_for(stack, Drop(1), PruneHeads(2, (0,)), Share(5, 3))
    once = apply_plan(stack, first)
    once.save(tmp_path / "once.pt")
    once = Stack.load(tmp_path / "once.pt")
    # places 0 to 4 are blocks 0, 2, 3, 4 and 5 (which has the parameters of 3); 2 has three heads
    second = plan_for(once, PruneHeads(1, (0,)), Drop(3), LocalAttention(4, 4))
    twice = apply_plan(once, second)
    assert twice.plans == (first, second) and once.plans == (first,)
    assert twice.block_numbers == (0, 2, 3, 5) and twice.windows == (None, None, None, 4)
    assert twice.blocks[3] is twice.blocks[2] is not once.blocks[2]
    assert len(stack.blocks) == 6 and len(once.blocks) == 5

    at_once = plan_for(
        stack, Drop(1), PruneHeads(2, (0, 1)), Share(5, 3), Drop(4), LocalAttention(5, 4)
    )
    together = apply_plan(stack, at_once)
    assert all(torch.equal(a, b) for a, b in zip(run(twice), run(together), strict=True))
    twice.save(tmp_path / "twice.pt")
    again = Stack.load(tmp_path / "twice.pt")
    assert again.plans == (first, second) and again.block_numbers == (0, 2, 3, 5)
    assert all(torch.equal(a, b) for a, b in zip(run(again), run(twice), strict=True))


def test_a_mimic_can_be_dropped_shared_and_mimicked():
    stack = small_stack("conformer", blocks=5)
    once = apply_plan(stack, plan_for(stack, Mimic((1, 2), 5, 1)))
    dropped = apply_plan(once, plan_for(once, Drop(1)))
    alone = apply_plan(stack, plan_for(stack, Drop(1), Drop(2)))
    assert_close(run(dropped), run(alone))
    shared = apply_plan(once, plan_for(once, Share(3, 1)))
    assert shared.blocks[3] is shared.blocks[1]
    over = apply_plan(once, plan_for(once, Mimic((0, 1), 4, 1)))
    assert len(over.blocks) == 3 and over.block_numbers == (2, 3, 4)


def test_shared_blocks_are_pruned_and_reused_at_all_their_places():
    stack = small_stack("hubert", blocks=5)
    once = apply_plan(stack, plan_for(stack, Share(3, 1)))
    pruned = apply_plan(once, plan_for(once, PruneHeads(3, (1,))))
    assert pruned.blocks[1] is pruned.blocks[3] and pruned.blocks[1].attention.heads == HEADS - 1
    both = plan_for(once, ReuseAttention(1, 0), ReuseAttention(3, 2))
    reused = apply_plan(once, both)
    assert reused.blocks[1] is reused.blocks[3] and reused.blocks[1].attention.follows
    prune = apply_plan(reused, plan_for(reused, PruneHeads(0, (1,)), PruneHeads(2, (1,))))
    assert [block.attention.heads for block in prune.blocks] == [3, 3, 3, 3, 4]
    run(prune)


def test_groups_may_grow_when_all_their_members_are_named_again():
    stack = small_stack("wavlm", blocks=4)
    once = apply_plan(stack, plan_for(stack, ReuseAttention(1, 0)))
    grown = apply_plan(once, plan_for(once, ReuseAttention(1, 0), ReuseAttention(2, 0)))
    at_once = apply_plan(stack, plan_for(stack, ReuseAttention(1, 0), ReuseAttention(2, 0)))
    assert_close(run(grown), run(at_once))
    free = apply_plan(once, plan_for(once, Share(1, 2)))  # has a map of its own again
    assert not free.blocks[1].attention.follows and free.blocks[1] is free.blocks[2]


GROUP = (ReuseAttention(2, 1), ReuseAttention(3, 1))

REFUSED = {
    "drops a leader": (GROUP, Drop(1), "block 2 reuses the map of 1, and drop of 1 would part"),
    "mimics a leader": (GROUP, Mimic((0, 1), 4, 1), "block 2 reuses .* mimic of 1 would part"),
    "mimics between": (GROUP, Mimic((2, 2), 4, 1), "block 3 reuses .* mimic of 2 would part"),
    "frees a follower between": (GROUP, Share(2, 0), "block 3 reuses .* share of 2 would part"),
    "makes a leader follow": (
        GROUP,
        ReuseAttention(1, 0),
        "block 2 reuses the map of 1, and reuse_attention of 1 would part",
    ),
    "follows a follower": (GROUP, ReuseAttention(4, 3), "block 3 has no map of its own: it reus"),
    "limits a follower": (GROUP, LocalAttention(3, 4), "block 3 has no map .* block 1's; name"),
    "prunes a follower": (GROUP, PruneHeads(2, (0,)), "block 2 has no map .* block 1's; name"),
    "shares a follower": (GROUP, Share(5, 2), "source 2 of block 5 reuses block 1's map and has"),
    "prunes a head that is gone": (
        (PruneHeads(1, (0,)),),
        PruneHeads(1, (3,)),
        r"head 3 is not there \(heads 0 to 2\)",
    ),
    "prunes where none are left": (
        (PruneHeads(1, (0, 1, 2, 3)),),
        PruneHeads(1, (0,)),
        r"head 0 is not there \(the block has none\)",
    ),
    "joins unequal heads": (
        (PruneHeads(1, (0,)),),
        ReuseAttention(2, 1),
        "block 2 has 4 heads and its leader 1 has 3: they cannot have one map",
    ),
    "gives a leader other heads": (
        (*GROUP, PruneHeads(5, (0,))),
        Share(1, 5),
        "block 2 has 4 heads and its leader 1 has 3: they cannot have one map",
    ),
    "limits a mimic": (
        (Mimic((1, 1), 4, 1),),
        LocalAttention(1, 4),
        "block 1 is a mimic and has no attention",
    ),
    "follows a mimic": (
        (Mimic((1, 1), 4, 1),),
        ReuseAttention(2, 1),
        "block 1 is a mimic and has no attention",
    ),
    "turns a mimic into a follower": (
        (Mimic((1, 1), 4, 1),),
        ReuseAttention(1, 0),
        "block 1 is a mimic and has no attention",
    ),
    "takes the queries of a block that is shared": (
        (Share(3, 1),),
        ReuseAttention(3, 2),
        "block 3 has the parameters of block 1, which needs its queries and keys",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("kind", ["wavlm", "conformer"])
def test_what_a_second_plan_may_not_overlook(case, kind, tmp_path):
    before, action, message = REFUSED[case]
    stack = small_stack(kind, blocks=6)
    once = apply_plan(stack, plan_for(stack, *before))
    path = tmp_path / "second.yaml"
    plan_for(once, action).save(path)
    plan = BlockPlan.load(path)
    parameters = {name: p.clone() for name, p in once.state_dict().items()}
    with pytest.raises(PlanError, match=rf"^{path}:3: {message}"):
        apply_plan(once, plan)
    assert len(once.plans) == 1
    assert all(torch.equal(p, once.state_dict()[name]) for name, p in parameters.items())


def test_unequal_pruning_of_shared_blocks_and_maps_is_refused():
    stack = small_stack("wav2vec2", blocks=5)
    once = apply_plan(stack, plan_for(stack, Share(3, 1)))
    with pytest.raises(PlanError, match="action 1: block 1 shares its parameters or its map"):
        apply_plan(once, plan_for(once, PruneHeads(1, (0,)), PruneHeads(3, (1,))))
    same = apply_plan(once, plan_for(once, PruneHeads(1, (0, 2)), PruneHeads(3, (2, 0))))
    assert same.blocks[3].attention.heads == 2
    reused = apply_plan(once, plan_for(once, ReuseAttention(1, 0), ReuseAttention(3, 2)))
    with pytest.raises(PlanError, match="action 0: block 3 shares its parameters or its map"):
        apply_plan(reused, plan_for(reused, PruneHeads(0, (1,))))


def test_a_plan_for_another_stack_is_refused():
    stack = small_stack("wav2vec2")
    for family, blocks, message in (
        ("hubert", 4, "the plan is for a hubert stack, and this one is wav2vec2"),
        ("wav2vec2", 5, "the plan is for 5 blocks, and this stack has 4"),
    ):
        with pytest.raises(PlanError, match=message):
            apply_plan(stack, BlockPlan(StackDescription(family, blocks)))
    with pytest.raises(PlanError, match=r"action 0: head 4 is not there \(heads 0 to 3\)"):
        apply_plan(stack, plan_for(stack, PruneHeads(1, (4,))))


def test_the_package_has_its_names_and_no_others():
    import espnet_plugin.surgery as surgery

    assert surgery.apply_plan is apply_plan and surgery.BlockPlan is BlockPlan
    assert [getattr(surgery, name).__name__ for name in surgery.__all__] == surgery.__all__
    with pytest.raises(AttributeError, match="no attribute 'apply_plans'"):
        surgery.apply_plans  # noqa: B018


def test_a_damaged_plan_in_a_file_is_one_line(tmp_path):
    stack = small_stack("wav2vec2", dtype=torch.float32)
    path = tmp_path / "stack.pt"
    apply_plan(stack, plan_for(stack, Drop(1))).save(path)
    content = torch.load(path)
    for plans in (["stack: {family: wav2vec2, blocks: 7}"], ["]"], [3], 3):
        torch.save({**content, "plans": plans}, path)
        with pytest.raises(StackError, match=rf"^{path}: ") as error:
            Stack.load(path)
        assert "\n" not in str(error.value)
