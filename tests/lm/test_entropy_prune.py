from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from naive_ngram import NaiveArpa

from espnet_plugin.lm import NGramError, train_ngram
from espnet_plugin.lm.entropy_prune import entropy_prune, relative_entropies

WORDS = "abcde"


def small_model(order: int):
    draw = np.random.default_rng(3)
    weights = draw.dirichlet(np.ones(5) * 0.6, size=5)
    sentences = []
    for _ in range(60):
        sentence = [int(draw.integers(5))]
        while draw.random() < 0.8:
            sentence.append(int(draw.choice(5, p=weights[sentence[-1]])))
        sentences.append([WORDS[i] for i in sentence])
    return train_ngram(sentences, order)


@pytest.mark.parametrize("order, n", [(2, 2), (3, 3), (3, 2)])
def test_divergence_by_leaving_out_each_ngram(order: int, n: int, tmp_path: Path) -> None:
    model = small_model(order)
    model.save(tmp_path / "a.arpa")
    arpa = NaiveArpa(tmp_path / "a.arpa")
    predicted = [w for w in model.vocabulary if w != "<s>"]

    def probs(history: tuple) -> dict:
        return {w: 10 ** arpa.log10_prob(w, history) for w in predicted}

    found, _ = relative_entropies(model, n)
    grams = [gram for gram in arpa.probs if len(gram) == n]  # in the order of the level
    assert len(grams) == len(found) > 10
    for gram, value in zip(grams, found, strict=True):
        history, word = gram[:-1], gram[-1]
        log_context = sum(
            arpa.log10_prob("</s>" if w == "<s>" else w, history[:i]) for i, w in enumerate(history)
        )
        before, lower = probs(history), probs(history[1:])
        explicit = [w for w in predicted if history + (w,) in arpa.probs and w != word]
        weight = (1 - sum(before[w] for w in explicit)) / (1 - sum(lower[w] for w in explicit))
        after = {w: before[w] if w in explicit else weight * lower[w] for w in predicted}
        assert math.fsum(after.values()) == pytest.approx(1, abs=1e-5)
        divergence = sum(p * math.log(p / after[w]) for w, p in before.items())
        assert value == pytest.approx(10**log_context * divergence, rel=1e-3, abs=2e-7)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("threshold", [1e-5, 1e-3, 1.0])
def test_pruned_models_sum_to_one(order: int, threshold: float) -> None:
    model = small_model(order)
    pruned = entropy_prune(model, threshold)
    assert pruned.counts[0] == model.counts[0] and pruned.order == order
    if threshold == 1.0:
        assert sum(pruned.counts[1:]) == 0
    elif threshold == 1e-3 and order > 1:
        assert sum(pruned.counts) < sum(model.counts)
    predicted = [w for w in model.vocabulary if w != "<s>"]
    for history in ["", "a", "ab", "ec", "bcd"]:
        for bos in (True, False):
            queries = [[*history, w] for w in predicted]
            scores = pruned.score_sentences(queries, bos, eos=False)
            assert sum(math.exp(s[-1]) for s in scores) == pytest.approx(1, abs=1e-4)


def test_nothing_is_left_out_below_every_rise(tmp_path: Path) -> None:
    model = small_model(3)
    pruned = entropy_prune(model, 1e-12)
    kept = sum(pruned.counts) / sum(model.counts)
    assert kept > 0.95
    for words in ("ab", "cde", "aab"):
        assert pruned.score(list(words)) == pytest.approx(model.score(list(words)), abs=1e-3)


def test_what_is_kept_has_its_prefixes_and_its_probability(tmp_path: Path, mini_corpus) -> None:
    model = train_ngram(mini_corpus, 3)
    pruned = entropy_prune(model, 1e-4)
    for name, one in (("full", model), ("pruned", pruned)):
        one.save(tmp_path / name)
    full, few = NaiveArpa(tmp_path / "full").probs, NaiveArpa(tmp_path / "pruned").probs
    assert 0.1 * len(full) < len(few) < 0.9 * len(full)
    for gram, prob in few.items():
        assert prob == full[gram] and (len(gram) == 1 or gram[:-1] in few)
    assert pruned.score(mini_corpus[0]) == pytest.approx(model.score(mini_corpus[0]), rel=0.1)


@pytest.mark.parametrize("threshold", [0, -1e-8, math.nan])
def test_refuses(threshold: float) -> None:
    with pytest.raises(NGramError, match="threshold of entropy pruning is above 0"):
        entropy_prune(small_model(2), threshold)
