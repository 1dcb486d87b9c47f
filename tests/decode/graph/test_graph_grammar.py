from __future__ import annotations

import gzip
import itertools
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from graph_reference import random_ngrams

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")
pytest.importorskip("kaldilm", reason="kaldilm is not installed")

from espnet_plugin.decode.graph import load_grammar  # noqa: E402
from espnet_plugin.decode.graph.grammar import save_grammar  # noqa: E402
from espnet_plugin.lm import train_ngram  # noqa: E402

WORDS = ["<eps>", "U", "V", "W"]


def score(grammar: k2.Fsa, sentence: tuple[str, ...]) -> float:
    linear = k2.linear_fsa([WORDS.index(word) for word in sentence])
    found = k2.connect(k2.intersect(grammar, k2.arc_sort(linear)))
    if not found.num_arcs:
        return -math.inf
    return float(k2.create_fsa_vec([k2.top_sort(found)]).get_tot_scores(True, False)[0])


@pytest.mark.parametrize("order", [1, 2, 3])
def test_scores_sentences_as_the_arpa_does(tmp_path: Path, order: int) -> None:
    for seed in range(5):
        ngrams = random_ngrams(np.random.default_rng(seed), WORDS[1:], order)
        ngrams.write(tmp_path / "lm.arpa")
        grammar = load_grammar(tmp_path / "lm.arpa", WORDS)
        assert torch.equal(grammar.lm_scores, grammar.scores)
        for sentence in itertools.product(WORDS[1:], repeat=3):
            assert score(grammar, sentence) == pytest.approx(ngrams.best(sentence), abs=1e-4)


def test_no_state_only_backs_off(tmp_path: Path) -> None:
    ngrams = random_ngrams(np.random.default_rng(1), WORDS[1:], 3)
    ngrams.write(tmp_path / "lm.arpa")
    grammar = load_grammar(tmp_path / "lm.arpa", WORDS)
    arcs = grammar.arcs.values()[:, :3].tolist()
    for state in {source for source, _, _ in arcs} - {0}:
        assert any(label != 0 for source, _, label in arcs if source == state)


def test_gzip_and_saved_grammars_are_the_same(tmp_path: Path) -> None:
    ngrams = random_ngrams(np.random.default_rng(2), WORDS[1:], 2)
    ngrams.write(tmp_path / "lm.arpa")
    grammar = load_grammar(tmp_path / "lm.arpa", WORDS)
    with gzip.open(tmp_path / "lm.arpa.gz", "wb") as stream:
        stream.write((tmp_path / "lm.arpa").read_bytes())
    save_grammar(grammar, WORDS, tmp_path / "G.pt")
    for name in ("lm.arpa.gz", "G.pt"):
        again = load_grammar(tmp_path / name, WORDS)
        assert torch.equal(again.arcs.values(), grammar.arcs.values())
        assert torch.equal(again.lm_scores, grammar.lm_scores)
    with pytest.raises(ValueError, match="over other words"):
        load_grammar(tmp_path / "G.pt", WORDS[:-1])


def test_other_words_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    ngrams = random_ngrams(np.random.default_rng(3), WORDS[1:], 2)
    ngrams.write(tmp_path / "lm.arpa")
    dropped = sum("W" in gram for gram in ngrams.probs)
    with caplog.at_level(logging.WARNING):
        grammar = load_grammar(tmp_path / "lm.arpa", WORDS[:-1])
    assert f"{dropped} n-grams left out" in caplog.text
    assert capfd.readouterr().err == ""  # kaldilm's own chatter
    assert set(grammar.labels.tolist()) <= {-1, 0, 1, 2}


def test_what_is_no_arpa_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such language model"):
        load_grammar(tmp_path / "none.arpa", WORDS)
    (tmp_path / "bad.arpa").write_text("once upon a time\n")
    with pytest.raises(ValueError, match="bad.arpa: "):
        load_grammar(tmp_path / "bad.arpa", WORDS)
    (tmp_path / "cut.arpa").write_bytes(gzip.compress(b"\\data\\ and more of it" * 9)[:-12])
    with pytest.raises(ValueError, match="cut.arpa: damaged gzip file"):
        load_grammar(tmp_path / "cut.arpa", WORDS)


def test_no_word_in_common_is_refused(tmp_path: Path) -> None:
    train_ngram([WORDS[1:]], 2).save(tmp_path / "lm.arpa")
    with pytest.raises(ValueError, match="lm.arpa: it has no sentence in the words of the dec"):
        load_grammar(tmp_path / "lm.arpa", ["<eps>", "other"])
