"""n-best lists with the scores of an n-gram model."""

from __future__ import annotations

from typing import List, Sequence

import pytest

from espnet_plugin.decode.rescore.grammar import MISSING
from espnet_plugin.decode.rescore.nbest import Path, rank
from espnet_plugin.decode.rescore.ngram import ngram_rescoring
from espnet_plugin.decode.scales import Scales
from espnet_plugin.lm import train_ngram

WORDS = ["<eps>", "the", "cat", "sat"]


def to_words(labels: Sequence[int]) -> List[str]:
    return [WORDS[label] for label in labels]


def test_scores_replace_those_of_the_graph() -> None:
    model = train_ngram([["the", "cat", "sat"], ["the", "cat"]], 2)
    paths = [
        Path((2, 1), (), -1.0, -5.0, -0.5, {"attention": -3.0}),
        Path((1, 2), (), -1.5, -50.0, -0.25),
        Path((), (), -9.0, -1.0, 0.0),
    ]
    rescored = ngram_rescoring([paths, [], paths[:1]], model, to_words)
    assert [len(some) for some in rescored] == [3, 0, 1]
    for before, after in zip(paths, rescored[0], strict=True):
        assert after.lm_score == pytest.approx(model.score(to_words(before.labels)))
        assert (after.labels, after.am_score, after.lexicon_score, after.extra) == (
            before.labels,
            before.am_score,
            before.lexicon_score,
            before.extra,
        )
    best = rank(rescored, Scales(lm=2.0))
    assert best[0][0].labels == (1, 2) and rank([paths], Scales())[0][0].labels == (2, 1)
    assert paths[0].lm_score == -5.0


def test_missing_words_cost_much_but_not_everything() -> None:
    model = train_ngram([["the", "cat"]], 2)
    if "<unk>" in model:
        rescored = ngram_rescoring([[Path((3,), (), 0.0, 0.0, 0.0)]], model, to_words)
        assert rescored[0][0].lm_score == pytest.approx(model.score(["<unk>"]))
    else:
        rescored = ngram_rescoring([[Path((3,), (), 0.0, 0.0, 0.0)]], model, to_words)
        assert rescored[0][0].lm_score == pytest.approx(MISSING + model.score([], bos=False))
