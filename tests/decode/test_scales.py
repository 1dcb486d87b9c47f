"""Scales of the parts of a score."""

from __future__ import annotations

import pytest
import torch

from espnet_plugin.decode.scales import Scales, set_scores, word_counts


def test_combination() -> None:
    scales = Scales(acoustic=0.5, hlg=2.0, lm=3.0, attention=4.0, nnlm=5.0, word=-0.25)
    assert scales.combine(-1.0, -10.0, -100.0, 8) == -0.5 - 60.0 - 200.0 - 2.0
    assert scales.combine_extra({"attention": -1.0, "nnlm": -2.0, "other": -3.0}) == -14.0
    assert scales.combine_extra({}) == 0


@pytest.mark.parametrize("name", ["acoustic", "hlg", "lm", "nbest", "attention", "nnlm"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_nonsense_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"scale {name}"):
        Scales(**{name: value})


def test_zero_is_a_scale_but_not_for_nbest() -> None:
    assert Scales(lm=0.0).combine(-1.0, -10.0, -100.0, 3) == -101.0
    with pytest.raises(ValueError, match="nbest"):
        Scales(nbest=0.0)


def test_set_scores() -> None:
    k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")
    fsa = k2.create_fsa_vec([k2.Fsa.from_str("0 1 1 0.5\n1 2 -1 0.25\n2")])
    fsa.aux_labels = torch.tensor([3, -1], dtype=torch.int32)
    fsa.am_scores = torch.tensor([-1.0, 0.0])
    fsa.lm_scores = torch.tensor([-2.0, -8.0])
    with pytest.raises(ValueError, match="no lexicon_scores"):
        set_scores(fsa, Scales())
    fsa.lexicon_scores = torch.tensor([-4.0, 0.0])
    best = fsa.get_tot_scores(use_double_scores=True, log_semiring=False)
    scaled = set_scores(fsa, Scales(acoustic=2.0, hlg=0.5, lm=3.0))
    assert scaled.scores.tolist() == [-2.0 - 3.0 - 2.0, -12.0]
    total = scaled.get_tot_scores(use_double_scores=True, log_semiring=False)
    assert total.tolist() == [-19.0]  # nothing remembered of the scores before
    assert fsa.scores.tolist() == [0.5, 0.25] and best.tolist() == [0.75]
    assert scaled.aux_labels.tolist() == [3, -1]
    assert set_scores(fsa, Scales(word=0.5)).scores.tolist() == [-7.0 + 0.5, -8.0]
    again = set_scores(scaled, Scales())
    assert again.scores.tolist() == [-7.0, -8.0]


def test_the_scale_of_words_may_be_negative_but_is_a_number() -> None:
    assert Scales(word=-2.0).combine(0.0, 0.0, 0.0, 3) == -6.0
    with pytest.raises(ValueError, match="scale word must be a number"):
        Scales(word=float("nan"))


def test_words_of_an_arc() -> None:
    k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")
    fsa = k2.Fsa.from_str("0 1 1 0.5\n1 2 2 0.25\n2 3 -1 0\n3")
    fsa.aux_labels = torch.tensor([3, 0, -1], dtype=torch.int32)
    assert word_counts(fsa).tolist() == [1.0, 0.0, 0.0]
    fsa.aux_labels = k2.RaggedTensor([[4, 0, 5], [], [-1]])
    assert word_counts(fsa).tolist() == [2.0, 0.0, 0.0]
