from __future__ import annotations

import random
from collections import Counter

import pytest

from espnet_plugin.data.grammar import draw_sentences, sentence, vocabulary, with_articles
from espnet_plugin.data.mini import MiniOptions


def test_several_hundred_words_all_plain():
    words = vocabulary()
    assert 350 <= len(words) <= 500
    assert words == sorted(set(words))
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words)


def test_sentences_come_from_the_vocabulary():
    rng = random.Random(7)
    known = set(vocabulary())
    for _ in range(500):
        assert set(sentence(rng)) <= known


def test_articles():
    assert with_articles("a old fox saw a eagle".split()) == "an old fox saw an eagle".split()
    assert with_articles("a fox met a".split()) == "a fox met a".split()


def test_default_parts_share_no_sentence_and_train_knows_every_word():
    parts = list(MiniOptions().sentences().values())
    sentences = [text for part in parts for text in part]
    assert len(sentences) == len(set(sentences))
    counts = Counter(word for text in parts[0] for word in text.split())
    heard_later = {word for part in parts[1:] for text in part for word in text.split()}
    assert min(counts[word] for word in heard_later) >= 5
    lengths = Counter(len(text.split()) for text in sentences)
    assert min(lengths) == 3 and 9 <= max(lengths) <= 12
    assert len(counts) > 0.95 * len(vocabulary())


def test_seed_decides():
    assert MiniOptions(seed=3).sentences() == MiniOptions(seed=3).sentences()
    assert MiniOptions(seed=3).sentences() != MiniOptions(seed=4).sentences()


def test_exhausted_grammar_is_said():
    with pytest.raises(ValueError, match="only 0 of 3 new sentences"):
        draw_sentences(random.Random(0), 3, set(), Counter(), 1)
