"""Block plans: the format, its round trip, and every refusal with the line at fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.surgery.actions import (
    KINDS,
    Drop,
    LocalAttention,
    Mimic,
    PruneHeads,
    ReuseAttention,
    Share,
)
from espnet_plugin.surgery.plan import BlockPlan, PlanError, StackDescription

EVERY_ACTION = """\
stack: {family: wav2vec2, blocks: 14, model: exp/asr_base}
actions:
  - {block: 4, do: reuse_attention, leader: 3}
  - {block: 8, do: drop}
  - {block: 9, do: local_attention, window: 16}
  - {block: 10, do: share, source: 7}
  - {block: 2, do: prune_heads, heads: [1, 5]}
  - {blocks: [11, 13], do: mimic, hidden: 64, layers: 2}
because:
  - JS 0.91 over 50 utterances
  - globalness 4.1, 3 deviations above its neighbours
  - diagonal but for noise
  - cosine 0.99 with block 7
  - 'importance 0.01: the least of all'
  - similarity 0.97 from 11 to 13
"""


def test_every_action_is_read(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(EVERY_ACTION)
    plan = BlockPlan.load(path)
    assert plan.stack == StackDescription("wav2vec2", 14, "exp/asr_base")
    assert plan.actions == (
        ReuseAttention(4, 3),
        Drop(8),
        LocalAttention(9, 16),
        Share(10, 7),
        PruneHeads(2, (1, 5)),
        Mimic((11, 13), 64, 2),
    )
    assert {type(a) for a in plan.actions} == set(KINDS.values())
    assert [a.line for a in plan.actions] == [3, 4, 5, 6, 7, 8]
    assert plan.actions[-1].touched == (11, 12, 13)
    assert plan.because[4] == "importance 0.01: the least of all"


def test_what_is_written_is_what_was_read(tmp_path):
    plan = BlockPlan.parse(EVERY_ACTION)
    actions = EVERY_ACTION.index("because")
    assert plan.to_yaml()[:actions] == EVERY_ACTION[:actions]
    plan.save(tmp_path / "new" / "plan.yaml")
    again = BlockPlan.load(tmp_path / "new" / "plan.yaml")
    assert again == plan and hash(again) == hash(plan)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["plan.yaml"]


def test_a_plan_may_be_written_over_lines_and_without_reasons():
    plan = BlockPlan.parse(
        "stack:\n  family: conformer\n  blocks: 3\n  model:\n"
        "actions:\n- do: drop\n  block: 1\n- {do: drop, block: 2}\nbecause:\n"
    )
    assert plan.actions == (Drop(1), Drop(2)) and plan.because == ()
    assert plan.stack.model is None
    assert BlockPlan.parse("stack: {family: conformer, blocks: 3}").reuse_groups() == [
        [0],
        [1],
        [2],
    ]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
lines = texts.filter(str.isprintable)


@st.composite
def plans(draw):
    blocks = draw(st.integers(1, 12))
    actions, leader = [], None
    for block in range(blocks):
        kind = draw(st.sampled_from(["keep", "reuse", "drop", "local", "heads", "both", "mimic"]))
        if kind == "reuse" and leader is not None:
            actions.append(ReuseAttention(block, leader))
            continue
        if kind == "drop" and block:
            actions.append(Drop(block))
            continue
        leader = block
        if kind in ("local", "both"):
            actions.append(LocalAttention(block, draw(st.integers(1, 100))))
        if kind in ("heads", "both"):
            heads = draw(st.sets(st.integers(0, 15), min_size=1))
            actions.append(PruneHeads(block, tuple(heads)))
        if kind == "mimic":
            actions.append(Mimic((block, block), draw(st.integers(1, 512)), 2))
            leader = None
    actions = draw(st.permutations(actions))
    reasons = [draw(lines) for _ in actions] if draw(st.booleans()) else []
    stack = StackDescription(draw(texts.filter(bool)), blocks, draw(st.none() | texts))
    return BlockPlan(stack, tuple(actions), tuple(reasons))


@pytest.mark.parametrize(
    "text", ["\x85", "a\u2028b", " x\n", "\t", "é\x85", "\u00a0", "ß: {}", "#"]
)
def test_odd_texts_come_back(text):
    plan = BlockPlan(StackDescription(text, 1, text), (LocalAttention(0, 3),), ())
    assert BlockPlan.parse(plan.to_yaml()) == plan


@settings(max_examples=60, deadline=None)
@given(plans())
def test_round_trip(plan):
    assert BlockPlan.parse(plan.to_yaml()) == plan


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_groups_round_trip(sizes):
    groups, start = [], 0
    for size in sizes:
        groups.append(list(range(start, start + size)))
        start += size
    plan = BlockPlan.from_groups(groups)
    assert BlockPlan.parse(plan.to_yaml()).reuse_groups() == groups
    assert len(plan.actions) == start - len(groups)


def test_from_groups_takes_reasons_and_refuses_gaps():
    plan = BlockPlan.from_groups([[0], [1, 2]], model="exp/m", because={2: "alike: 0.9"})
    assert plan.because == ("alike: 0.9",) and plan.stack.model == "exp/m"
    for groups in ([[0], [2]], [[1], [0]], [[0, 2], [1]], [[0], []], [[0], [0, 1]]):
        with pytest.raises(PlanError, match="must cover the blocks"):
            BlockPlan.from_groups(groups)


def test_groups_of_a_plan_with_other_actions_are_refused():
    with pytest.raises(PlanError, match=":4: only reuse_attention .* not drop"):
        BlockPlan.parse(EVERY_ACTION).reuse_groups()


def test_a_group_closes_over_a_dropped_block():
    plan = "stack: {family: c, blocks: 4}\nactions:\n- {block: 2, do: drop}\n"
    BlockPlan.parse(
        plan + "- {block: 1, do: reuse_attention, leader: 0}\n"
        "- {block: 3, do: reuse_attention, leader: 0}\n"
    )


HEAD = "stack: {family: conformer, blocks: 6}\nactions:\n"
REUSE = "  - {{block: {}, do: reuse_attention, leader: {}}}\n"


@pytest.mark.parametrize(
    "text, line, message",
    [
        # not YAML, or not this YAML
        ("", 1, "the plan is empty"),
        ("stack: {family: x\n", 2, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML"),
        ("- 1\n", 1, "the plan must be a mapping"),
        ("stack: {family: x, blocks: 1}\nsteps: []\n", 2, "the plan has no key 'steps'"),
        ("actions: []\n", 1, "the plan lacks 'stack'"),
        ("stack: {family: x, blocks: 1}\nstack: {family: y, blocks: 1}\n", 2, "'stack' twice"),
        ("stack: {blocks: 3}\n", 1, "stack lacks 'family'"),
        ("stack:\n  family: x\n  blocks: 0\n", 3, "blocks must be at least 1, not 0"),
        ("stack:\n  family: x\n  blocks: true\n", 3, "blocks must be a whole number"),
        ("stack:\n  family: x\n  blocks: 3.0\n", 3, "blocks must be a whole number"),
        ("stack:\n  family: 7\n  blocks: 3\n", 2, "family must be text"),
        ("stack:\n  family: ''\n  blocks: 3\n", 2, "family is empty"),
        ("stack:\n  family: [x]\n  blocks: 3\n", 2, "family must be text, not a list"),
        ("stack:\n  family: x\n  blocks: 3\n  model: {}\n", 4, "model must be text"),
        ("stack:\n  family: !!python/name:os.system x\n  blocks: 3\n", 2, "cannot read"),
        ("stack: {family: x, blocks: 1}\nactions: 3\n", 2, "actions must be a list"),
        (HEAD + "  - drop\n", 3, "an action must be a mapping"),
        (HEAD + "  - {block: 1}\n", 3, "an action lacks 'do'"),
        (HEAD + "  - {block: 1, do: delete}\n", 3, "unknown action 'delete'"),
        (HEAD + "  - {block: 1, do: drop, leader: 0}\n", 3, "action drop has no key 'leader'"),
        (HEAD + "  - {do: drop}\n", 3, "action drop lacks 'block'"),
        (HEAD + "  - {block: 1, block: 2, do: drop}\n", 3, "'block' twice"),
        (HEAD + "  - {block: one, do: drop}\n", 3, "block must be a whole number, not 'one'"),
        (HEAD + "  - {block: -1, do: drop}\n", 3, "block must be at least 0"),
        (HEAD + "because: [a]\n", 3, "1 lines for 0 actions"),
        (HEAD + "  - {block: 1, do: drop}\nbecause: [a, b]\n", 4, "2 lines for 1 actions"),
        (HEAD + "  - {block: 1, do: drop}\nbecause:\n  - 3\n", 5, "because must be text"),
        (HEAD + '  - {block: 1, do: drop}\nbecause:\n  - "a\\nb"\n', 5, "one line of plain text"),
        # ranges
        (HEAD + "  - {block: 6, do: drop}\n", 3, "block 6 is not in the stack (blocks 0 to 5)"),
        (HEAD + REUSE.format(1, 9), 3, "leader 9 is not in the stack"),
        (HEAD + "  - {block: 1, do: share, source: 6}\n", 3, "source 6 is not in the stack"),
        (HEAD + "  - {block: 1, do: local_attention, window: 0}\n", 3, "window must be at least 1"),
        (HEAD + "  - {block: 1, do: prune_heads, heads: []}\n", 3, "heads is empty"),
        (HEAD + "  - {block: 1, do: prune_heads, heads: [1, 1]}\n", 3, "heads must be different"),
        (HEAD + "  - {block: 1, do: prune_heads, heads: 1}\n", 3, "heads must be a list"),
        (HEAD + "  - {blocks: [2], do: mimic, hidden: 8, layers: 1}\n", 3, "[first, last]"),
        (HEAD + "  - {blocks: [3, 2], do: mimic, hidden: 8, layers: 1}\n", 3, "[first, last]"),
        (HEAD + "  - {blocks: [2, 6], do: mimic, hidden: 8, layers: 1}\n", 3, "blocks 6 is not"),
        (HEAD + "  - {blocks: [2, 3], do: mimic, hidden: 0, layers: 1}\n", 3, "hidden must be"),
        (HEAD + "  - {blocks: [2, 3], do: mimic, hidden: 8, layers: 0}\n", 3, "layers must be"),
        # contradictions
        (HEAD + "  - {block: 1, do: drop}\n  - {block: 1, do: drop}\n", 4, "twice drop"),
        (
            HEAD + "  - {block: 1, do: drop}\n  - {block: 1, do: local_attention, window: 3}\n",
            4,
            "block 1 is named for both drop and local_attention (the other in line 3)",
        ),
        (
            HEAD + "  - {blocks: [1, 3], do: mimic, hidden: 8, layers: 1}\n"
            "  - {block: 2, do: prune_heads, heads: [0]}\n",
            4,
            "both mimic and prune_heads",
        ),
        (
            HEAD + REUSE.format(1, 0) + "  - {block: 1, do: prune_heads, heads: [0]}\n",
            4,
            "both reuse_attention and prune_heads",
        ),
        (HEAD + REUSE.format(1, 1), 3, "must come before it"),
        (HEAD + REUSE.format(1, 2), 3, "must come before it"),
        (HEAD + REUSE.format(2, 1) + "  - {block: 1, do: drop}\n", 3, "leader 1 of block 2 is rem"),
        (HEAD + REUSE.format(1, 0) + REUSE.format(2, 1), 4, "it reuses block 0's; name that one"),
        (HEAD + REUSE.format(3, 1), 3, "block 2 lies between"),
        (
            HEAD + REUSE.format(4, 2) + "  - {blocks: [3, 3], do: mimic, hidden: 8, layers: 1}\n",
            3,
            "block 3 lies between",
        ),
        (HEAD + "  - {block: 1, do: share, source: 1}\n", 3, "cannot share its own"),
        (
            HEAD + "  - {block: 1, do: share, source: 3}\n  - {block: 3, do: drop}\n",
            3,
            "source 3 of block 1 is removed by drop",
        ),
        (
            HEAD + "  - {block: 1, do: share, source: 3}\n  - {block: 3, do: share, source: 4}\n",
            3,
            "it shares block 4's",
        ),
        (HEAD + REUSE.format(3, 2) + "  - {block: 5, do: share, source: 3}\n", 4, "no "),
        (
            "stack: {family: c, blocks: 2}\nactions:\n"
            "- {do: drop, block: 0}\n- {do: drop, block: 1}",
            3,
            "drops every block",
        ),
    ],
)
def test_refusals_name_the_line(tmp_path, text, line, message):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(PlanError) as caught:
        BlockPlan.load(path)
    error = str(caught.value)
    assert error.startswith(f"{path}:{line}: ")
    assert message in error and "\n" not in error


def test_files_that_are_no_text_or_not_there_are_named(tmp_path):
    with pytest.raises(PlanError, match="nowhere.yaml: cannot read the plan"):
        BlockPlan.load(tmp_path / "nowhere.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"stack: \xff")
    with pytest.raises(PlanError, match=r"bad.yaml: not UTF-8 text \(byte 7\)"):
        BlockPlan.load(tmp_path / "bad.yaml")
    (tmp_path / "deep.yaml").write_text("[" * 20000)
    with pytest.raises(PlanError, match="deep.yaml"):
        BlockPlan.load(tmp_path / "deep.yaml")


def test_nothing_in_a_file_runs_code(tmp_path):
    flag = tmp_path / "ran"
    apply = "!!python/object/apply:pathlib.Path"
    text = f"stack: {apply}.touch [{apply} ['{flag}']]"
    with pytest.raises(PlanError):
        BlockPlan.parse(text)
    assert not flag.exists()


def test_a_plan_must_fit_the_stack():
    plan = BlockPlan.parse(EVERY_ACTION, Path("p.yaml"))
    plan.validate(blocks=14, heads=6, family="wav2vec2")
    for fit, message in (
        ({"blocks": 12}, "p.yaml: the plan is for 14 blocks, and this stack has 12"),
        ({"heads": 5}, "p.yaml:7: head 5 is not there"),
        ({"family": "conformer"}, "p.yaml: the plan is for a wav2vec2 stack"),
    ):
        with pytest.raises(PlanError, match=message):
            plan.validate(**fit)


def test_plans_made_in_memory_are_checked_and_name_the_action():
    stack = StackDescription("conformer", 3)
    with pytest.raises(PlanError, match="block plan: action 1: block 5 is not in the stack"):
        BlockPlan(stack, (Drop(0), Drop(5)))
    with pytest.raises(PlanError, match="family is empty"):
        BlockPlan(StackDescription("", 3))
    with pytest.raises(PlanError, match="blocks must be at least 1"):
        BlockPlan(StackDescription("c", 0))
    with pytest.raises(PlanError, match="because"):
        BlockPlan(stack, (Drop(0),), ("a", "b"))
    with pytest.raises(PlanError, match="plain text"):
        BlockPlan(stack, (Drop(0),), ("a\nb",))


def test_the_kind_of_a_mimic_may_be_left_out():
    text = "stack: {family: hubert, blocks: 4}\nactions:\n  - {blocks: [1, 2], do: mimic, %s}\n"
    plan = BlockPlan.parse(text % "hidden: 8, layers: 1, kind: transformer")
    assert plan.actions == (Mimic((1, 2), 8, 1, "transformer"),)
    assert BlockPlan.parse(plan.to_yaml()) == plan and "kind: transformer" in plan.to_yaml()
    plain = BlockPlan.parse(text % "hidden: 8, layers: 1, kind: linear")
    assert plain.actions == (Mimic((1, 2), 8, 1),) and "kind" not in plain.to_yaml()
    with pytest.raises(PlanError, match=r"plan:3: kind of mimic must be one of linear, trans.*'x'"):
        BlockPlan.parse(text % "hidden: 8, layers: 1, kind: x", Path("plan"))
    with pytest.raises(PlanError, match=r"plan:3: kind must be text"):
        BlockPlan.parse(text % "hidden: 8, layers: 1, kind: 3", Path("plan"))
    with pytest.raises(PlanError, match=r"plan:3: the action mimic has no key 'line'"):
        BlockPlan.parse(text % "hidden: 8, layers: 1, line: 3", Path("plan"))
