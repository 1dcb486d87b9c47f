"""Orders of heads, the points of their curves, and how sure the figures are."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espnet_plugin.analysis.heads.head_curves import (
    Points,
    pruning_curves,
    single_heads,
    span_curves,
)
from espnet_plugin.analysis.heads.ranking import (
    equal_numbers,
    importance_orders,
    measured_heads,
    pruned_counts,
    random_order,
)
from espnet_plugin.analysis.heads.ranking_report import (
    categories,
    contrasts,
    curve_rows,
    curves,
    difference,
    mean_rises,
    point,
    single,
    spans,
)
from espnet_plugin.analysis.maps.attention_report import AnalysisError
from espnet_plugin.analysis.suite.subject import Subject
from espnet_plugin.analysis.sums.resample import Resampling, interval, rate
from espnet_plugin.decode.journal import Journal
from espnet_plugin.stacks.wav2vec2.config import Wav2Vec2Config
from espnet_plugin.stacks.wav2vec2.stack import Wav2Vec2Stack
from espnet_plugin.surgery.actions import LocalAttention, PruneHeads
from espnet_plugin.surgery.apply import apply_plan
from espnet_plugin.surgery.plan import BlockPlan, StackDescription


def head(number, g, v, d, m, category="global"):
    measures = {"globalness": g, "verticality": v, "diagonality": d, "maximum_weight": m}
    return {"head": number, **measures, "category": category}


ATTENTION = {
    "blocks": [
        {
            "block": 0,
            "shares_map_of": None,
            "heads": [head(0, 1.0, -3.0, -0.1, 0.9, "diagonal"), head(1, 2.0, -1.0, -0.2, 0.5)],
        },
        {
            "block": 1,
            "shares_map_of": 0,
            "heads": [head(0, 1.0, -3.0, -0.1, 0.9), head(1, 2.0, -1.0, -0.2, 0.5)],
        },
        {
            "block": 2,
            "shares_map_of": None,
            "heads": [head(0, 2.0, -2.0, -0.3, 0.1), head(1, 0.5, -4.0, 0.0, 0.7, "vertical")],
        },
    ]
}


def test_orders_of_the_paper():
    heads = measured_heads(ATTENTION)
    assert {h: values["uses"] for h, values in heads.items()} == {
        (0, 0): 2,
        (0, 1): 2,
        (2, 0): 1,
        (2, 1): 1,
    }
    assert importance_orders(heads) == {
        "globalness": [(0, 1), (2, 0), (0, 0), (2, 1)],  # ties: the lower block first
        "verticality": [(0, 1), (2, 0), (0, 0), (2, 1)],
        "diagonality": [(2, 1), (0, 0), (0, 1), (2, 0)],
        "maximum_weight": [(2, 0), (0, 1), (2, 1), (0, 0)],
    }
    with pytest.raises(ValueError, match="unknown order 'size'"):
        importance_orders(heads, ["size"])
    without = {k: v for k, v in head(0, 1, 1, 1, 1).items() if k != "maximum_weight"}
    with pytest.raises(AnalysisError, match="no maximum_weight of head 0 of block 0"):
        measured_heads({"blocks": [{"block": 0, "shares_map_of": None, "heads": [without]}]})
    with pytest.raises(AnalysisError, match="no heads"):
        measured_heads({"blocks": []})


def test_orders_at_random():
    heads = [(block, n) for block in range(4) for n in range(3)]
    assert random_order(heads, 1) == random_order(heads[::-1], 1) != random_order(heads, 2)
    assert sorted(random_order(heads, 1)) == heads


@given(st.integers(1, 200), st.integers(1, 12))
def test_counts_are_the_nearest_to_the_shares(heads, parts):
    counts = pruned_counts(heads, parts)
    assert counts[0] == 0 and counts[-1] == heads and len(counts) == parts + 1
    assert all(abs(c - heads * n / parts) <= 0.5 for n, c in enumerate(counts))
    assert counts == sorted(counts)


def test_resampling_against_a_loop():
    generator = random.Random(0)
    pairs = [(generator.randint(0, 3), generator.randint(1, 9)) for _ in range(13)]
    drawn = Resampling(13, draws=50, seed=3)
    naive = []
    for counts in np.random.default_rng(3).multinomial(13, [1 / 13] * 13, 50).tolist():
        errors = sum(n * e for n, (e, _) in zip(counts, pairs, strict=True))
        naive.append(100 * errors / sum(n * t for n, (_, t) in zip(counts, pairs, strict=True)))
    np.testing.assert_allclose(drawn.rates(pairs), naive, rtol=1e-12)
    assert rate(pairs) == 100 * sum(e for e, _ in pairs) / sum(n for _, n in pairs)
    assert interval(np.arange(101.0)) == pytest.approx([2.5, 97.5])
    assert np.isnan(Resampling(2, draws=40).rates([(0, 0), (1, 2)])).any()
    with pytest.raises(ValueError, match="no error rate"):
        rate([(1, 0)])


# -- the points of a stack --------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack():
    torch.manual_seed(0)
    layers = ((8, 10, 5), (8, 8, 4))
    layout = dict(width=16, blocks=3, heads=2, feed_forward=24, pos_kernel=8, pos_groups=2)
    stack = Wav2Vec2Stack(Wav2Vec2Config(conv_layers=layers, **layout)).double()
    for parameter in stack.blocks.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return stack.eval()


SPEECH = torch.randn(3, 1500, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def said(stack) -> dict:
    """Numbers that any edit of the stack changes."""
    with torch.no_grad():
        x, lengths = stack.output(SPEECH, torch.tensor([1500, 1200, 800]))
    norms = [float(row[:n].abs().sum()) for row, n in zip(x, lengths.tolist(), strict=True)]
    return {"x": [(round(norm * 1e6), 10**9) for norm in norms]}


class Counted:
    """Measures, and counts how often it is asked to."""

    def __init__(self, stack) -> None:
        self.stack, self.calls = stack, 0

    def __call__(self, edited=None):
        self.calls += 1
        return said(self.stack if edited is None else edited)


def plan(stack, *actions):
    return BlockPlan(StackDescription(stack.family, len(stack.blocks)), actions)


def assert_near(got, wanted):
    for (a, _), (b, _) in zip(got["x"], wanted["x"], strict=True):
        assert abs(a - b) <= 2


def test_points_equal_physical_edits_and_are_measured_once(stack, tmp_path):
    evaluate = Counted(stack)
    points = Points(Subject("m", stack), evaluate, Journal(tmp_path / "j", "job"))
    before = said(stack)
    order = [(2, 1), (0, 0), (0, 1), (1, 0), (2, 0), (1, 1)]
    found = pruning_curves(points, {"one": order, "other": order[::-1]})
    assert evaluate.calls == 1 + 6 + 5  # unedited once; both end with all heads
    for count, got in enumerate(found["one"]):
        chosen: dict = {}
        for block, number in order[:count]:
            chosen.setdefault(block, []).append(number)
        actions = [PruneHeads(block, tuple(heads)) for block, heads in chosen.items()]
        assert_near(got, said(apply_plan(stack, plan(stack, *actions))))
    limited = span_curves(points, (5, 1, 0))
    assert limited["plain"][0] == limited["renormalised"][0] == before
    for window, got in zip((5, 1), limited["renormalised"][1:], strict=False):
        windows = plan(stack, *(LocalAttention(block, window) for block in range(3)))
        assert_near(got, said(apply_plan(stack, windows)))
    assert len({str(errors) for errors in limited["plain"]}) == 4
    alone = single_heads(points, order)
    assert alone[2, 1] == found["one"][1]
    calls = evaluate.calls
    again = Points(Subject("m", stack), evaluate, Journal(tmp_path / "j", "job"))
    assert pruning_curves(again, {"one": order})["one"] == found["one"]
    assert span_curves(again, (5, 1, 0)) == limited and evaluate.calls == calls
    assert said(stack) == before


def test_an_error_on_the_way_leaves_the_stack_as_it_was(stack):
    before = said(stack)

    def fail(edited=None):
        raise RuntimeError("stop")

    points = Points(Subject("m", stack), fail)
    with pytest.raises(RuntimeError, match="stop"):
        points.masked([(0, 0)])
    assert said(stack) == before and stack.map_edit is None


# -- what is told -------------------------------------------------------------------------------


def test_mean_rises_and_differences_against_naive_sums():
    generator = random.Random(1)

    def some():
        return {"greedy": [(generator.randint(0, 5), 6) for _ in range(9)]}

    found = {"globalness": [some() for _ in range(4)], "random 0": [some() for _ in range(4)]}
    drawn = Resampling(9, draws=200)
    told = mean_rises(found, drawn)
    for order in found:
        rates = [rate(errors["greedy"]) for errors in found[order]]
        assert told[order]["greedy"]["mean_rise"] == pytest.approx(sum(rates[1:]) / 3 - rates[0])
        low, high = told[order]["greedy"]["interval_95"]
        assert low <= told[order]["greedy"]["mean_rise"] <= high
    gap = told["globalness"]["greedy"]["mean_rise"] - told["random 0"]["greedy"]["mean_rise"]
    assert told["globalness"]["greedy"]["above_random"] == pytest.approx(gap)
    assert told["random 0"]["greedy"]["above_random_interval_95"] == pytest.approx([0, 0])
    assert contrasts(found, drawn) == []
    (pair,) = contrasts(
        {"diagonality": found["random 0"], "globalness": found["globalness"]}, drawn
    )
    assert (pair["more"], pair["less"]) == ("diagonality", "globalness")
    assert pair["measures"]["greedy"]["difference"] == pytest.approx(-gap)
    low, high = told["globalness"]["greedy"]["above_random_interval_95"]
    assert pair["measures"]["greedy"]["interval_95"] == pytest.approx([-high, -low])
    one = difference(found["globalness"][1], found["globalness"][1], drawn)["greedy"]
    assert one == {"rise": 0.0, "interval_95": [0.0, 0.0]}


def test_categories_and_rows():
    heads = measured_heads(ATTENTION)
    unedited = {"greedy": [(1, 10), (1, 10)]}
    alone = {h: {"greedy": [(2 + n, 10), (1, 10)]} for n, h in enumerate(sorted(heads))}
    drawn = Resampling(2, draws=50)
    equal = {name: (c, alone[c[0]]) for name, c in equal_numbers(heads).items()}
    assert {name: chosen for name, (chosen, _) in equal.items()} == {
        "diagonal": [(0, 0)],
        "vertical": [(2, 1)],
        "global": [(0, 1)],
    }
    found = categories(heads, alone, equal, unedited, drawn)
    assert [found[name]["heads"] for name in ("diagonal", "vertical", "global")] == [1, 1, 2]
    assert found["diagonal"]["alone"]["greedy"]["mean_rise"] == pytest.approx(5.0)
    assert found["global"]["alone"]["greedy"]["mean_rise"] == pytest.approx(12.5)
    assert found["vertical"]["equal"]["heads"] == [[2, 1]]
    assert found["vertical"]["equal"]["measures"]["greedy"]["rise"] == pytest.approx(20.0)
    assert categories(heads, {}, {}, unedited, drawn)["global"] == {
        "heads": 2,
        "alone": None,
        "equal": None,
    }
    assert single(alone, unedited, drawn)[2, 1]["greedy"]["rise"] == pytest.approx(20.0)
    report = {
        "curves": curves({"globalness": [unedited, alone[0, 0]]}, 4, 1, drawn),
        "spans": spans({"plain": [unedited, alone[0, 0]]}, [None, 3], drawn),
    }
    rows = curve_rows(report)
    assert rows[1][:9] == ["heads", "globalness", 0, 0.0, "", "greedy", 2, 20, 10.0]
    assert rows[4][:9] == ["span", "plain", "", "", 3, "greedy", 3, 20, 15.0]
    assert len(rows) == 5 and {len(row) for row in rows} == {11}
    assert point(unedited, drawn)["greedy"]["interval_95"] == [10.0, 10.0]
