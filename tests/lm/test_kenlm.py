"""The same files read by KenLM's Python package, another implementation, give the same scores."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from naive_ngram import NaiveArpa

from espnet_plugin.lm import NGram, train_ngram
from espnet_plugin.lm.lmplz import find_lmplz, train_lmplz

# In a process of its own: flashlight-text has a KenLM too, and the two in one process crash.
SCORE = """
import json, sys
import kenlm
model = kenlm.Model(sys.argv[1])
found = {"order": model.order, "scores": [], "steps": []}
for words in json.load(sys.stdin):
    text = " ".join(words)
    pairs = ((True, True), (True, False), (False, True), (False, False))
    found["scores"].append([model.score(text, bos=bos, eos=eos) for bos, eos in pairs])
    found["steps"].append([score for score, _, _ in model.full_scores(text)])
print(json.dumps(found))
"""


def check(path: Path, sentences: list[list[str]]) -> None:
    if find_spec("kenlm") is None:
        pytest.skip("the kenlm package is not installed")
    done = subprocess.run(
        [sys.executable, "-c", SCORE, str(path)],
        input=json.dumps(sentences), capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours, theirs = NGram.load(path), json.loads(done.stdout)
    assert theirs["order"] == ours.order and len(theirs["scores"]) == len(sentences)
    for words, expected, steps in zip(sentences, theirs["scores"], theirs["steps"], strict=True):
        pairs = ((True, True), (True, False), (False, True), (False, False))
        totals = [ours.score(words, bos, eos) / math.log(10) for bos, eos in pairs]
        assert totals == pytest.approx(expected, abs=1e-4)
        found = [score / math.log(10) for score in ours.score_words(words)]
        assert found == pytest.approx(steps, abs=1e-5)


@pytest.mark.parametrize("order, prune", [(2, (0,)), (3, (0, 0, 1)), (4, (0,)), (5, (0, 1, 2))])
def test_trained_models(order: int, prune: tuple, tmp_path: Path, mini_corpus) -> None:
    train_ngram(mini_corpus[:300], order, prune=prune).save(tmp_path / "a.arpa")
    check(tmp_path / "a.arpa", [*mini_corpus[250:], ["NEVER", "SEEN", "ZEBRA", "THE", "KING"], []])


def test_our_query_equals_back_off_by_dictionary(tmp_path: Path, mini_corpus) -> None:
    train_ngram(mini_corpus[:300], 3, prune=(0, 0, 1)).save(tmp_path / "a.arpa")
    model, naive = NGram.load(tmp_path / "a.arpa"), NaiveArpa(tmp_path / "a.arpa")
    for words in [*mini_corpus[300:], ["ZEBRA", "THE", "ZEBRA"]]:
        assert model.score(words) == pytest.approx(naive.score(words, 3), abs=1e-5)


def test_real_transcripts_and_word_counts(tmp_path: Path, data_root: Path) -> None:
    from espnet_plugin.lm.text import read_sentences, read_word_counts

    files = sorted(data_root.glob("LibriSpeech/train-clean-100/*/*/*.trans.txt"))
    counts = read_word_counts(data_root / "lm/librispeech_train_word_counts.txt", "upper")
    sentences = list(read_sentences(files, with_ids=True))
    model = train_ngram(sentences[:-50], 3, prune=(0, 0, 1), base_counts=counts)
    assert len(model.vocabulary) >= len(counts) > 200_000
    model.save(tmp_path / "a.arpa.gz")
    check(tmp_path / "a.arpa.gz", sentences[-50:])


def test_lmplz_makes_the_same_model(tmp_path: Path, mini_corpus) -> None:
    if find_lmplz() is None:
        pytest.skip("KenLM's lmplz is not on PATH")
    # lmplz counts the last new word of a text by its occurrences instead of the words before
    # it, so that word is seen once here
    sentences = [*mini_corpus, ["THE", "END"]]
    for order, prune in ((1, (0,)), (2, (0,)), (3, (0, 0, 1)), (4, (0, 1, 2))):
        train_lmplz(sentences, order, tmp_path / "theirs.arpa", prune)
        train_ngram(sentences, order, prune=prune).save(tmp_path / "ours.arpa")
        theirs, ours = (NaiveArpa(tmp_path / f"{name}.arpa") for name in ("theirs", "ours"))
        assert set(theirs.probs) == set(ours.probs)
        for gram in ours.probs:
            if gram != ("<s>",):
                assert ours.probs[gram] == pytest.approx(theirs.probs[gram], abs=1e-4)
            assert ours.backoffs[gram] == pytest.approx(theirs.backoffs[gram], abs=1e-4)
    train_lmplz(sentences, 2, tmp_path / "packed.arpa.gz")
    assert (tmp_path / "packed.arpa.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert NGram.load(tmp_path / "packed.arpa.gz").order == 2
