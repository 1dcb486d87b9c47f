import numpy as np
import pytest

from espnet_plugin.report.analyses import Analysis, Extras, ReportError, check_extras, scales
from espnet_plugin.report.findings import findings, table, verdict
from espnet_plugin.surgery.plan import BlockPlan, StackDescription

KINDS = np.array(["same", "similar", "class", "other"])
UTTERANCES, HEADS = 40, 2


def phonetic(same):
    """An analysis whose attention to the same phone is ``same`` (utterances, blocks)."""
    blocks = same.shape[1]
    values = np.ones((len(same), blocks * HEADS, 4))
    values[:, :, 0] = same.repeat(HEADS, axis=1)
    arrays = {"values": values, "block": np.arange(blocks).repeat(HEADS), "kinds": KINDS}
    return analysis("phoneme_attention", {}, arrays)


def analysis(measure, result, arrays=None):
    return Analysis("model", None, {measure: result}, {measure: arrays})


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, shape)


@pytest.mark.parametrize(
    ("slope", "expected"), [(-0.3, "holds"), (0.3, "does not hold"), (0.0, "undecided")]
)
@pytest.mark.parametrize("blocks", [2, 5, 6])
def test_phonetic_localisation_is_found_where_it_was_planted(slope, expected, blocks):
    same = 2 + slope * np.arange(blocks) + noise((UTTERANCES, blocks))
    (found,) = findings(phonetic(same))
    assert found.verdict == expected
    assert found.claim.startswith("lower blocks attend to the same phone")


def test_the_difference_is_that_of_the_halves():
    """Five blocks: 1, 2, 3, 4, 7; the one in the middle is in neither half."""
    (found,) = findings(phonetic(np.tile([1.0, 2.0, 3.0, 4.0, 7.0], (UTTERANCES, 1))))
    assert ": -4 (-4 to -4)" in found.figures


def test_heads_without_a_value_do_not_count():
    one = phonetic(np.tile([3.0, 1.0], (UTTERANCES, 1)))
    values = one._arrays["phoneme_attention"]["values"]
    values[:, 1, 0] = np.nan  # the second head of block 0
    values[5:, :, 0] = np.nan  # most utterances
    (found,) = findings(one)
    assert ": +2 (+2 to +2)" in found.figures


def test_nothing_is_said_of_one_block_or_without_a_value():
    assert findings(phonetic(np.ones((UTTERANCES, 1)))) == []
    assert findings(phonetic(np.full((UTTERANCES, 4), np.nan))) == []


@pytest.mark.parametrize(("slope", "expected"), [(0.2, "holds"), (-0.2, "does not hold")])
def test_diagonality_by_depth(slope, expected):
    scores = np.zeros((UTTERANCES, 4, 3))
    scores[:, :, 2] = slope * np.arange(4) + noise((UTTERANCES, 4)) / 10
    (found,) = findings(analysis("patterns", {}, {"scores": scores}))
    assert found.verdict == expected
    # CAD is a third of the score: 2 of 3 blocks apart
    assert f"{slope * 2 / 3:+.1f}"[:4] in found.figures


@pytest.mark.parametrize(("parts", "expected"), [(1, "undecided"), (2, "holds")])
def test_structure_of_states(parts, expected):
    structure = {"linear_cka": {"parts": parts, "starts": [0, 3][:parts], "p_value": 0.004}}
    (found,) = findings(analysis("similarity", {"structure": structure}))
    assert found.verdict == expected
    assert "p = 0.004" in found.figures


def test_structure_that_could_not_be_measured_is_left_out():
    assert findings(analysis("similarity", {"structure": {}})) == []


def probe(accuracies):
    """A probe that reads 50 frames of each utterance; the first state is what enters block 0."""
    rates = np.concatenate([[0.99], accuracies])
    correct = np.random.default_rng(0).binomial(50, rates, (UTTERANCES, len(rates)))
    arrays = {"correct": correct, "total": np.full(UTTERANCES, 50)}
    return analysis("phone_probe", {}, arrays)


@pytest.mark.parametrize(
    ("accuracies", "expected", "best"),
    [
        ([0.6, 0.9, 0.8, 0.8, 0.6, 0.6], "holds", 1),
        ([0.2, 0.3, 0.4, 0.5, 0.9, 0.6], "does not hold", 3),
        ([0.1, 0.2, 0.3, 0.5, 0.5, 0.4], "undecided", 3),
    ],
)
def test_where_phones_are_read_best(accuracies, expected, best):
    (found,) = findings(probe(accuracies))
    assert found.verdict == expected
    assert f"lower 4 blocks (block {best}) less best of the upper 2" in found.figures


def test_two_blocks_have_no_upper_third():
    assert findings(probe([0.9, 0.1])) == []


def test_importance_comes_from_paired_differences_of_the_orders():
    value = {"difference": 4.2, "interval_95": [1.0, 7.0]}
    contrast = {"more": "diagonality", "less": "verticality", "measures": {"wer": value}}
    (found,) = findings(Analysis("model", None, {}), [{"contrasts": [contrast]}, {"other": 1}])
    assert found.verdict == "holds"
    claim = "pruning heads by diagonality first costs more than by verticality first: wer errors"
    assert found.claim == claim
    assert "+4.2 (+1 to +7)" in found.figures


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((0.1, 2), "holds"), ((-2, -0.1), "does not hold"), ((-1, 1), "undecided")],
)
def test_verdict(interval, expected):
    assert verdict(interval) == expected


def test_table():
    lines = table(findings(phonetic(np.tile([3.0, 1.0], (UTTERANCES, 1)))))
    assert lines[0] == "|finding|source|here|figures|"
    assert [line.count("|") for line in lines] == [5, 5, 5]


def of(family, blocks, sha256="ours"):
    model = {"family": family, "blocks": blocks, "sha256": sha256, "directory": "exp/a"}
    return Analysis("a", None, {"attention": {"model": model}})


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ({"plan": BlockPlan(StackDescription("wav2vec2", 8), ())}, "the plan is for wav2vec2"),
        ({"diagnosis": {"family": "conformer", "stack_blocks": 8}}, "the diagnosis is of conform"),
        ({"curves": [{"orders": {}, "model": {"sha256": "x", "directory": "b"}}]}, "a ranking is"),
    ],
)
def test_what_is_of_another_model_is_refused(extras, message):
    with pytest.raises(ReportError, match=message):
        check_extras([of("conformer", 6)], Extras(**extras))


def test_what_is_of_the_models_is_taken():
    ranking = {"orders": {}, "model": {"sha256": "second", "directory": "b"}}
    plan = BlockPlan(StackDescription("conformer", 6), ())
    extras = Extras(plan, {"family": "conformer", "stack_blocks": 6}, [ranking, {"points": []}])
    check_extras([of("conformer", 6), of("conformer", 8, "second")], extras)


def test_the_scale_of_several_models():
    def scaled(name, utterances):
        data = {"utterances": utterances, "directory": "dump/dev"}
        return Analysis(name, None, {"attention": {"model": {}, "data": data}})

    assert scales([scaled("a", 5), scaled("b", 5)]) == "5 utterances of dev"
    assert scales([scaled("a", 5), scaled("b", 7)]) == (
        "a: 5 utterances of dev; b: 7 utterances of dev"
    )
