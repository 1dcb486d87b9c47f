"""Whatever plan validates: the edited stack runs, has the parameters it must have, and travels."""

from __future__ import annotations

from typing import Dict, List

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stacks import HEAD, HEADS, INNER, KINDS, WAV2VEC2, WIDTH, plan_for, run, small_stack

from espnet_plugin.stacks.stack import Stack
from espnet_plugin.surgery.actions import (
    Action,
    Drop,
    LocalAttention,
    Mimic,
    PruneHeads,
    ReuseAttention,
    Share,
)
from espnet_plugin.surgery.apply import apply_plan

BLOCKS = 6


@st.composite
def actions(draw) -> List[Action]:
    """Actions that do not contradict each other, in any order."""
    chosen: List[Action] = []
    plain: List[int] = []  # blocks with parameters and a map of their own
    sharers: List[int] = []
    leader, block = None, 0
    while block < BLOCKS:
        kinds = ["keep", "local", "prune", "both", "share"]
        if len(chosen) < BLOCKS - 1:
            kinds += ["drop", "mimic"]
        if leader is not None:
            kinds += ["reuse"] * 3
        kind = draw(st.sampled_from(kinds))
        if kind == "drop":
            chosen.append(Drop(block))
        elif kind == "mimic":
            last = draw(st.integers(block, min(block + 2, BLOCKS - 1)))
            network = draw(st.sampled_from(["linear", "transformer"]))
            layers, hidden = draw(st.integers(1, 2)), draw(st.integers(1, 7))
            chosen.append(Mimic((block, last), hidden, layers, network))
            leader, block = None, last
        elif kind == "reuse":
            chosen.append(ReuseAttention(block, leader))
        else:
            leader = block
            (sharers if kind == "share" else plain).append(block)
            if kind in ("local", "both"):
                chosen.append(LocalAttention(block, draw(st.integers(1, 70))))
            if kind in ("prune", "both"):
                heads = st.sets(st.integers(0, HEADS - 1), min_size=1)
                chosen.append(PruneHeads(block, tuple(draw(heads))))
        block += 1
    reused = {action.leader for action in chosen if isinstance(action, ReuseAttention)}
    pruned = {action.block for action in chosen if isinstance(action, PruneHeads)}
    for block in sharers:
        others = [b for b in plain if not (block in reused or b in reused) or b not in pruned]
        others = [b for b in others if b != block]
        if others:
            chosen.append(Share(block, draw(st.sampled_from(others))))
    if all(any(isinstance(a, Drop) and a.block == b for a in chosen) for b in range(BLOCKS)):
        chosen.pop()
    return draw(st.permutations(chosen))


def attention_parameters(kind: str, heads: int, follows: bool) -> int:
    inner = heads * HEAD
    values = 2 * WIDTH * inner + inner + WIDTH
    if follows:
        return values
    more = 2 * (WIDTH * inner + inner)
    if kind == "wavlm" and heads:
        more += heads + 8 * HEAD + 8
    if kind in ("conformer", "legacy"):
        more += WIDTH * inner + 2 * inner
    return values + more


def block_parameters(kind: str, heads: int, follows: bool) -> int:
    network = 2 * WIDTH * INNER + INNER + WIDTH
    norm = 2 * WIDTH
    count = attention_parameters(kind, heads, follows) + network + 2 * norm
    if kind in ("conformer", "legacy"):
        convolution = (
            2 * WIDTH * WIDTH + 2 * WIDTH + WIDTH * 5 + WIDTH + norm + WIDTH * WIDTH + WIDTH
        )
        count += network + convolution + 3 * norm
    return count


def mimic_parameters(action: Mimic) -> int:
    count = 2 * WIDTH * action.hidden + action.hidden + WIDTH
    if action.kind == "linear":
        return action.layers * (count + 2 * action.hidden)
    return action.layers * (count + 4 * WIDTH * (WIDTH + 1) + 4 * WIDTH)


def expected_parameters(kind: str, stack: Stack, plan: List[Action]) -> int:
    """By closed form, from what the plan says alone."""
    total = sum(p.numel() for p in stack.parameters())
    outside = total - BLOCKS * block_parameters(kind, HEADS, False)
    leaders = {a.block: a.leader for a in plan if isinstance(a, ReuseAttention)}
    heads = {a.block: HEADS - len(a.heads) for a in plan if isinstance(a, PruneHeads)}
    none = {block for a in plan if isinstance(a, (Drop, Share, Mimic)) for block in a.touched}
    left = {b: heads.get(leaders.get(b, b), HEADS) for b in range(BLOCKS) if b not in none}
    blocks = sum(block_parameters(kind, n, block in leaders) for block, n in left.items())
    mimics = [a for a in plan if isinstance(a, Mimic)]
    if kind == "wavlm" and not any(n for b, n in left.items() if b not in leaders):
        outside -= 8 * HEADS  # the relative biases
    return outside + blocks + sum(map(mimic_parameters, mimics))


STACKS: Dict[str, Stack] = {}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(actions())
def test_random_plans(kind, tmp_path_factory, chosen):
    if kind not in STACKS:
        STACKS[kind] = small_stack(kind, BLOCKS, dtype=torch.float32)
    stack = STACKS[kind]
    plan = plan_for(stack, *chosen)
    edited = apply_plan(stack, plan)
    gone = {block for a in chosen if isinstance(a, (Drop, Mimic)) for block in a.touched}
    entries = BLOCKS - len(gone) + sum(isinstance(a, Mimic) for a in chosen)
    assert len(edited.blocks) == len(edited.block_numbers) == len(edited.windows) == entries
    assert list(edited.block_numbers) == sorted(set(edited.block_numbers))

    hidden = run(edited)
    assert [tuple(x.shape) for x in hidden] == [(2, 60, WIDTH)] * (entries + 1)
    assert all(torch.isfinite(x).all() and not x[1, 37:].any() for x in hidden)
    count = sum(p.numel() for p in edited.parameters())
    assert count == expected_parameters(kind, stack, chosen)
    assert sum(t.numel() for n, t in edited.state_dict().items() if "running" not in n) <= (
        count + BLOCKS  # batch norms count their batches
    )

    path = tmp_path_factory.mktemp("plans") / "edited.pt"
    edited.save(path)
    loaded = Stack.load(path)
    assert loaded.plans == (plan,)
    again = run(loaded)
    assert all(torch.equal(a, b) for a, b in zip(again, hidden, strict=True))
    assert (kind in WAV2VEC2) == (stack.takes == "waveform")
