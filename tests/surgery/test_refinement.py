"""The best refinement: chosen by what is sure, expressed as a plan."""

from __future__ import annotations

import pytest
import torch

from espnet_plugin.analysis.heads.head_curves import Points
from espnet_plugin.analysis.heads.ranking_report import refinement
from espnet_plugin.analysis.suite.subject import Subject
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.actions import LocalAttention, PruneHeads
from espnet_plugin.surgery.plan import StackDescription
from espnet_plugin.surgery.refinement import Variant, halves, refine

ORDER = [(0, 1), (1, 0), (0, 0), (1, 1)]


@pytest.fixture(scope="module")
def stack():
    layout = dict(width=16, blocks=2, heads=2, feed_forward=24, pos_kernel=8, pos_groups=2)
    return Wav2Vec2Stack(Wav2Vec2Config(conv_layers=((8, 10, 5), (8, 8, 4)), **layout)).eval()


def edits_of(stack, edited):
    """What is edited: heads that are masked or gone, and windows."""
    found = []

    def look(block, maps, lengths):
        found.append((maps.shape[1], [n for n in range(maps.shape[1]) if not maps[0, n].any()]))

    from espnet_plugin.stacks.hooks import attention_maps

    with attention_maps(edited, look), torch.no_grad():
        edited.output(torch.randn(1, 900, generator=torch.Generator().manual_seed(0)))
    gone = 4 - sum(heads for heads, _ in found) + sum(len(masked) for _, masked in found)
    return gone, edited.windows


def points_of(stack, errors_by_gone, with_window=0):
    """Errors that depend on how many heads are gone, and less if there is a window."""

    def evaluate(edited=None):
        gone, windows = edits_of(stack, stack if edited is None else edited)
        saved = with_window if any(windows) else 0
        return {"greedy": [(error - saved, 100) for error in errors_by_gone[gone]]}

    return Points(Subject("m", stack), evaluate)


def test_a_sure_gain_is_chosen(stack):
    errors = {0: [50] * 8, 1: [40] * 8, 2: [30] * 8, 3: [60] * 8, 4: [90] * 8}
    points = points_of(stack, errors, with_window=-1)
    chosen, tried = refine(points, {"g": ORDER}, [5], "greedy", range(4), 4)
    assert chosen == Variant(((0, 1), (1, 0)), "g") and chosen.name == "2 heads by g dropped"
    assert [variant.name for variant, _ in tried] == [
        "unedited",
        *(f"{n} heads by g dropped" for n in (1, 2, 3, 4)),
        "window 5",
        "2 heads by g dropped, window 5",
        "1 heads by g dropped, window 5",
    ]


def test_both_together(stack):
    errors = {0: [50] * 8, 1: [40] * 8, 2: [30] * 8, 3: [60] * 8, 4: [90] * 8}
    points = points_of(stack, errors, with_window=7)
    chosen, tried = refine(points, {"g": ORDER}, [5], "greedy", range(4), 4)
    assert chosen == Variant(((0, 1), (1, 0)), "g", 5)
    assert dict(tried)[chosen]["greedy"] == [(23, 100)] * 8


def test_what_is_better_by_luck_is_not_chosen(stack):
    errors = {0: [50] * 8, 1: [10, 80, 20, 70] * 2, 2: [60] * 8, 3: [60] * 8, 4: [60] * 8}
    assert sum(errors[1]) < sum(errors[0])
    chosen, _ = refine(points_of(stack, errors), {"g": ORDER}, [], "greedy", range(8), 4)
    assert chosen == Variant() and chosen.name == "unedited"


def test_of_equals_the_smaller_model_is_taken(stack):
    errors = {n: [30] * 4 for n in (1, 2, 4)} | {0: [50] * 4, 3: [90] * 4}
    chosen, _ = refine(points_of(stack, errors), {"g": ORDER}, [3, 9], "greedy", range(4), 4)
    assert len(chosen.heads) == 4 and chosen.window == 3


def test_the_plan_of_a_variant():
    variant = Variant(((0, 1), (1, 0), (1, 1)), "globalness", 7)
    plan = variant.plan(StackDescription("conformer", 3), {0: 2, 1: 2, 2: 2}, "why")
    assert plan.actions == (
        PruneHeads(0, (1,)),
        PruneHeads(1, (0, 1)),
        LocalAttention(0, 7),
        LocalAttention(2, 7),
    )
    assert plan.because == ("why",) * 4
    assert Variant().plan(StackDescription("conformer", 3), {0: 2}).actions == ()


def test_halves_and_what_is_told():
    assert halves(5) == ([0, 2, 4], [1, 3])
    with pytest.raises(ValueError, match="1 utterances cannot be halved"):
        halves(1)
    before = {"greedy": [(2, 10), (3, 10), (2, 10), (3, 10)]}
    after = {"greedy": [(1, 10), (4, 10), (1, 10), (4, 10)]}
    variant = Variant(window=3)
    told = refinement(
        variant, [(Variant(), before), (variant, after)], after, before, "greedy", halves(4)
    )
    choice, check = told["choice"], told["check"]
    assert (choice["unedited"], choice["refined"], choice["rise"]) == (20.0, 10.0, -10.0)
    assert (check["unedited"], check["refined"], check["interval_95"]) == (30.0, 40.0, [10.0, 10.0])
    assert told["whole"] == {"unedited": 25.0, "refined": 25.0}
    assert told["tried"][1] == {
        "variant": "window 3",
        "heads": 0,
        "order": None,
        "window": 3,
        "choice": 10.0,
        "check": 40.0,
    }


def test_one_utterance_that_counts_is_not_enough(stack):
    def evaluate(edited=None):
        gone, _ = edits_of(stack, stack if edited is None else edited)
        return {"greedy": [(50 - 10 * gone, 100), (0, 0), (0, 0), (0, 0)]}

    chosen, _ = refine(Points(Subject("m", stack), evaluate), {"g": ORDER}, [], "greedy", range(4))
    assert chosen == Variant()
