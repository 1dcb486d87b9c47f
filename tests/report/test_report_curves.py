"""Curves of ranked heads, budgets and blocks, probes, similarity and boundaries in the report."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from espnet_plugin.report.analyses import Extras
from espnet_plugin.report.curves import charts, known
from espnet_plugin.report.html.curves import section
from espnet_plugin.report.html.markup import Figures
from espnet_plugin.report.matrices import matrices
from espnet_plugin.report.phoneme_maps import phone_order, segmentation
from espnet_plugin.report.probes import probes


def measured(rate):
    return {"greedy": {"errors": 1, "tokens": 9, "rate": rate, "interval_95": [rate - 1, rate + 1]}}


def curve(*rates):
    return [{"pruned": 2 * n, "share": n / 4, "measures": measured(r)} for n, r in enumerate(rates)]


RISE = {"mean_rise": 1.5, "interval_95": [0.5, 2.5]}
RANKING = {
    "schema": "espnet_plugin/ranking/1",
    "data": {"directory": "dev", "utterances": 7, "seconds": 60.0},
    "unedited": measured(5.0),
    "curves": {
        "diagonality": curve(5.0, 8.0, 9.0),
        "random 0": curve(5.0, 6.0, 7.0),
        "random 1": curve(5.0, 8.0, 5.0),
    },
    "spans": {
        "plain": [{"span": None, "measures": measured(5.0)}, {"span": 3, "measures": measured(6.0)}]
    },
    "summary": {"diagonality": {"greedy": RISE}},
    "categories": {
        "diagonal": {
            "heads": 2,
            "alone": {"greedy": RISE},
            "equal": {
                "heads": [[0, 1]],
                "measures": {"greedy": {"rise": 2.5, "interval_95": [1.0, 3.0]}},
            },
        },
        "vertical": {"heads": 0, "alone": None, "equal": None},
    },
    "refinement": {"because": "2 heads dropped: 5 to 4 <%>"},
}
BUDGET = {
    "budget": {"metric": "speed", "value": 2.0},
    "damage": "KL divergence",
    "conditions": {"utterances": ["a", "b"], "seconds": [5.0], "threads": 1},
    "chosen": "p1",
    "compared": {"drop": "p2"},
    "plans": [
        {"plan": "p1", "speed": 2.1, "damage": 0.1},
        {"plan": "p2", "speed": 2.2, "damage": 0.3},
        {"plan": "p3", "speed": 1.5, "damage": 0.05},
        {"plan": "p4", "damage": 0.01},
    ],
}
BLOCKS = {"total": 20, "core": [], "curves": {"cka": {"order": [1, 0], "right": [20, 15]}}}


def test_orders_and_the_mean_of_those_at_random():
    pruned, spans = charts(RANKING, 0)
    ((title, series),) = pruned.drawing.panels
    assert title == "words, greedy"
    assert [one.name for one in series][0] == "most diagonal first"
    assert series[0].y == [5.0, 8.0, 9.0] and series[0].intervals[1] == (7.0, 9.0)
    assert series[1].y == [5.0, 7.0, 6.0] and series[1].intervals[1:] == [(6.0, 8.0), (5.0, 7.0)]
    assert spans.drawing.panels[0][1][0].x == ["full", "3"]


def test_the_section_has_tables_and_reasons():
    found = section([], Extras(curves=[RANKING, BUDGET, BLOCKS]), Figures())
    assert "+2.50 (+1.00 to +3.00)" in found.html
    assert "+1.50 (+0.50 to +2.50)" in found.html and "4 &lt;%&gt;" in found.html
    assert section([], Extras(), Figures()) is None


def test_only_plans_that_were_timed_are_drawn():
    (chart,) = charts(BUDGET, 1)
    ((_, series),) = chart.drawing.panels
    assert {one.name: list(zip(one.x, one.y, strict=True)) for one in series} == {
        "all plans timed": [(1.5, 0.05)],
        "chosen": [(2.1, 0.1)],
        "drop": [(2.2, 0.3)],
    }


def test_blocks_removed_in_percent():
    (chart,) = charts(BLOCKS, 2)
    assert chart.drawing.panels[0][1][0].y == [100.0, 75.0]


@pytest.mark.parametrize("content", [RANKING, BUDGET, BLOCKS])
def test_what_is_known(content):
    assert known(content)
    assert not known([content]) and not known({"schema": "other"})


def analysis(**results):
    return SimpleNamespace(results=results, scale="3 utterances of test", groups=[[0], [1]])


def test_probes_by_state():
    source = {"accuracy": {"mark": "P", "unit": "1", "source": "linear classifier"}}
    states = [{"state": 0, "accuracy": 0.5, "low": 0.4, "high": 0.6}]
    stored = {
        "sources": source, "states": states, "samples_are": "frames", "split_by": "utterance",
        "tested_samples": 90, "classes": ["AA", "SIL"], "chance": 0.3,
    }  # fmt: skip
    (found,) = probes(analysis(phone_probe=stored, word_probe={**stored, "states": []}))
    assert (found.states, found.accuracy, found.intervals) == ([0], [0.5], [(0.4, 0.6)])
    assert found.chance == 0.3 and "90 frames, 2 classes" in found.caption


def test_groups_of_states_are_framed():
    ones = [[1.0] * 4 for _ in range(4)]
    source = {"mark": "P", "unit": "1", "source": "somebody"}
    stored = {
        "sources": {"linear_cka": source, "cosine": source},
        "values": {"linear_cka": ones, "cosine": ones},
        "structure": {
            "linear_cka": {"parts": 2, "starts": [0, 3], "p_value": 0.01},
            "cosine": None,
        },
        "samples": "frames",
        "neighbours": 10,
    }
    cka, cosine = matrices(analysis(similarity=stored))
    assert cka.structure == [(0, 2), (3, 3)] and "2 groups of states" in cka.caption
    assert cosine.structure == []


def test_boundaries_against_mfcc():
    stored = {
        "sources": {"segmentation": {"mark": "P", "unit": "1", "source": "Yang"}},
        "tolerance_seconds": 0.02,
        "utterances": {"choice": 4, "scored": 5},
        "heads": [{"block": 0, "head": 1, "r_value": 0.4}],
        "baselines": {"mfcc_10ms": {"r_value": 0.7}},
        "best": None,
    }
    found = segmentation(analysis(segmentation=stored))
    assert found.baseline == 0.7 and found.heads[0][:3] == (0, 1, 0.4)
    assert "20 ms" in found.caption and segmentation(analysis()) is None


def test_phones_in_order_of_manner():
    symbols = ["SIL", "Z", "AA1", "B", "M", "SPN"]
    assert [symbols[n] for n in phone_order(symbols)] == ["AA1", "B", "Z", "M", "SIL", "SPN"]
