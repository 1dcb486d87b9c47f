from __future__ import annotations

import itertools
import logging
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_ngram import NaiveArpa, NaiveKneserNey

from espnet_plugin.lm import NGramError, train_ngram
from espnet_plugin.lm.kneser_ney import FALLBACK, discounts

TINY = [["a", "b"], ["a", "b"], ["a", "c"]]


def prob(model, word: str, history: list[str], bos: bool = False) -> float:
    return math.exp(model.score_words([*history, word], bos=bos, eos=False)[-1])


def test_bigram_by_hand() -> None:
    # 1-grams: a, b, c follow one word each and </s> two: counts of counts 3 1 0, so D = 0.5 1 1.5;
    # 3 * 0.5 + 1 of 5 go to the uniform distribution over a, b, c, </s>, <unk>.
    model = train_ngram(TINY, 2)
    assert model.order == 2 and model.counts == [6, 5]
    assert sorted(model.vocabulary) == ["</s>", "<s>", "<unk>", "a", "b", "c"]
    for word, expected in {"a": 0.2, "b": 0.2, "c": 0.2, "</s>": 0.3, "<unk>": 0.1}.items():
        assert prob(model, word, []) == pytest.approx(expected, rel=1e-6)
    # 2-grams: <s> a 3; a b, b </s> 2; a c, c </s> 1: Y = 1/3, D1 = 1/3, D2 = 3/2, D3+ = 3.
    free = (1 / 3 + 3 / 2) / 3
    assert prob(model, "b", ["a"]) == pytest.approx((2 - 3 / 2) / 3 + free * 0.2, rel=1e-6)
    assert prob(model, "c", ["a"]) == pytest.approx((1 - 1 / 3) / 3 + free * 0.2, rel=1e-6)
    assert prob(model, "a", ["a"]) == pytest.approx(free * 0.2, rel=1e-6)
    assert prob(model, "a", [], bos=True) == pytest.approx(0.2, rel=1e-6)
    assert prob(model, "never", ["a"]) == pytest.approx(free * 0.1, rel=1e-6)


def test_unigram_by_hand() -> None:
    # counts: a 3, b 2, c 1, </s> 3: n1 n2 n3 = 1 1 2, Y = 1/3, D2 = 2 - 3/3 * 2 = 0, D3+ = 3
    model = train_ngram(TINY, 1)
    free = (1 / 3 + 0 + 3 + 3) / 9
    assert prob(model, "a", []) == pytest.approx(free / 5, rel=1e-6)
    assert prob(model, "b", []) == pytest.approx(2 / 9 + free / 5, rel=1e-6)
    assert prob(model, "c", []) == pytest.approx((1 - 1 / 3) / 9 + free / 5, rel=1e-6)


def test_base_counts_by_hand() -> None:
    model = train_ngram(TINY, 2, base_counts={"a": 9, "d": 4, "e": 0})
    total = 13 + 7  # one is added for each of a b c d e </s> <unk>
    for word, own, count in (("a", 1, 9), ("b", 1, 0), ("d", 0, 4), ("e", 0, 0), ("<unk>", 0, 0)):
        expected = max(own - 0.5, 0) / 5 + 0.5 * (count + 1) / total
        assert prob(model, word, []) == pytest.approx(expected, rel=1e-6)


def test_pruning_by_hand() -> None:
    model = train_ngram(TINY, 2, prune=(0, 1))
    assert model.counts == [6, 3]
    # a c is gone, and its count of 1 is left to the shorter context; so are c's words altogether
    free = (1 + 3 / 2) / 3
    assert prob(model, "b", ["a"]) == pytest.approx((2 - 3 / 2) / 3 + free * 0.2, rel=1e-6)
    assert prob(model, "c", ["a"]) == pytest.approx(free * 0.2, rel=1e-6)
    assert prob(model, "</s>", ["c"]) == pytest.approx(0.3, rel=1e-6)


def test_discounts_of_equation_26() -> None:
    adjusted = np.repeat([0, 1, 2, 3, 4, 7], [5, 40, 20, 10, 5, 3])
    y = 40 / 80
    expected = [0, 1 - 2 * y * 20 / 40, 2 - 3 * y * 10 / 20, 3 - 4 * y * 5 / 10]
    np.testing.assert_allclose(discounts(adjusted, 2), expected)


@pytest.mark.parametrize("repeats", [[0, 2, 2, 2], [2, 0, 2, 2], [2, 2, 0, 2], [9, 1, 9, 1]])
def test_discounts_fall_back(repeats: list[int], caplog) -> None:
    with caplog.at_level(logging.WARNING):
        found = discounts(np.repeat([1, 2, 3, 4], repeats), 3)
    assert tuple(found) == (0, *FALLBACK)
    assert "discounts of 3-grams (n1..n4 = {} {} {} {})".format(*repeats) in caplog.text


WORDS = st.sampled_from("abcdef")
PRUNE = st.sampled_from([(0,), (0, 1), (0, 0, 1), (0, 1, 2), (0, 2), (0, 0, 0, 1)])
CORPORA = st.fixed_dictionaries({
    "sentences": st.lists(st.lists(WORDS, max_size=8), min_size=1, max_size=25),
    "vocabulary": st.none() | st.lists(WORDS, max_size=4),
    "prune": PRUNE,
    "base_counts": st.none() | st.dictionaries(st.sampled_from("abxy"), st.integers(0, 50)),
})  # fmt: skip


@given(corpus=CORPORA, order=st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_equals_the_papers_formulas_and_sums_to_one(corpus: dict, order: int) -> None:
    corpus["prune"] = corpus["prune"][:order]
    model = train_ngram(order=order, **corpus)
    naive = NaiveKneserNey(order=order, **corpus)
    assert sorted(w for w in model.vocabulary if w != "<s>") == naive.words
    kept = {gram for gram in naive.raw if naive.kept(gram) and len(gram) > 1}
    assert sum(model.counts[1:]) == len(kept)
    histories = {()} | {gram for gram in naive.raw if len(gram) < order and gram[-1] != "</s>"}
    histories |= set(itertools.islice(itertools.product(naive.words, repeat=order - 1), 5))
    for history in histories:
        bos = history[:1] == ("<s>",)
        queries = [[*history[bos:], word] for word in naive.words]
        found = [np.exp(s[-1]) for s in model.score_sentences(queries, bos=bos, eos=False)]
        expected = [naive.prob(word, history) for word in naive.words]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)
        assert math.fsum(found) == pytest.approx(1, abs=1e-5)


def test_no_explicit_probability_is_below_its_back_off(tmp_path: Path, mini_corpus) -> None:
    train_ngram(mini_corpus, 3).save(tmp_path / "3.arpa")
    arpa = NaiveArpa(tmp_path / "3.arpa")
    longer = [gram for gram in arpa.probs if len(gram) > 1]
    assert len(longer) > 300
    for gram in longer:
        assert arpa.probs[gram] >= arpa.backed_off(gram[-1], gram[:-1]) - 1e-5


def test_pruning_keeps_prefixes_and_suffixes(tmp_path: Path, mini_corpus) -> None:
    full, pruned = train_ngram(mini_corpus, 3), train_ngram(mini_corpus, 3, prune=(0, 1, 3))
    assert pruned.counts[0] == full.counts[0]
    assert pruned.counts[1] < full.counts[1] and pruned.counts[2] < full.counts[2]
    pruned.save(tmp_path / "p.arpa")
    grams = NaiveArpa(tmp_path / "p.arpa").probs
    for gram in grams:
        if len(gram) > 1:
            assert gram[:-1] in grams and gram[1:] in grams


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(sentences=[], order=2), "no sentences"),
        (dict(sentences=TINY, order=0), "at least 1, not 0"),
        (dict(sentences=[["a", "<s>"]], order=2), "sentence 1 holds <s>"),
        (dict(sentences=[["a"], ["</s>"]], order=2), "sentence 2 holds"),
        (dict(sentences=TINY, order=2, prune=(0, 1, 2)), "prune 0 1 2: at most 2 values"),
        (dict(sentences=TINY, order=2, prune=(1,)), "prune 1: .* begin with 0"),
        (dict(sentences=TINY, order=3, prune=(0, 2, 1)), "do not fall"),
        (dict(sentences=TINY, order=2, base_counts={"a": -1}), "negative"),
    ],
)
def test_refuses(arguments: dict, message: str) -> None:
    with pytest.raises(NGramError, match=message):
        train_ngram(**arguments)
