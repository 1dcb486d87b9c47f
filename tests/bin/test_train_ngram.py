from __future__ import annotations

import gzip
import logging
import os
from pathlib import Path

import pytest

from espnet_plugin.bin import train_ngram
from espnet_plugin.lm import NGram
from espnet_plugin.lm.perplexity import perplexity
from espnet_plugin.lm.text import read_sentences, read_vocabulary, read_word_counts

TEXT = ["THE CAT SAW THE DOG", "", "A DOG RAN", "THE CAT RAN", "A CAT SAW A CAT"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text").write_text("\n".join(TEXT) + "\n")
    return tmp_path / "text"


@pytest.fixture
def kaldi_text(tmp_path: Path) -> Path:
    lines = [f"utt-{i} {line}".strip() for i, line in enumerate(TEXT)]
    (tmp_path / "kaldi.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return tmp_path / "kaldi.gz"


@pytest.fixture
def no_lmplz(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def run(*options: object) -> NGram:
    arguments = [str(option) for option in options]
    train_ngram.main(arguments)
    return NGram.load(arguments[arguments.index("--out") + 1])


def test_plain_and_kaldi_text_give_the_same_model(text, kaldi_text, tmp_path, no_lmplz) -> None:
    assert list(read_sentences([text])) == list(read_sentences([kaldi_text], with_ids=True))
    run("--text", text, "--order", 2, "--out", tmp_path / "a.arpa")
    run("--text", kaldi_text, "--text_type", "kaldi", "--order", 2, "--out", tmp_path / "b.arpa")
    assert (tmp_path / "a.arpa").read_bytes() == (tmp_path / "b.arpa").read_bytes()


def test_auto_takes_our_own_without_lmplz(text, tmp_path, no_lmplz, caplog) -> None:
    with caplog.at_level(logging.INFO):
        model = run("--text", text, text, "--out", tmp_path / "a.arpa", "--prune", 0, 0, 2)
    assert "engine: own" in caplog.text
    # of the text, given twice, only <s> THE CAT is there more than twice
    assert model.order == 3 and model.counts[0] == 9 and model.counts[2] == 1


def test_lmplz_that_is_not_there(text, tmp_path, no_lmplz) -> None:
    with pytest.raises(SystemExit, match="train_ngram: lmplz is not on PATH"):
        run("--text", text, "--out", tmp_path / "a.arpa", "--engine", "lmplz")


def test_lmplz_that_fails(text, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "lmplz").write_text("#!/bin/sh\necho reading >&2\necho no memory >&2\nexit 1\n")
    (folder / "lmplz").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(SystemExit, match="^train_ngram: lmplz failed: no memory$"):
        run("--text", text, "--out", tmp_path / "a.arpa")
    assert not (tmp_path / "a.arpa").exists()
    # what only our own trainer can do does not go to lmplz
    (tmp_path / "words").write_text("CAT\n")
    run("--text", text, "--out", tmp_path / "a.arpa", "--vocabulary", tmp_path / "words")


def test_vocabulary_counts_and_case(text, tmp_path) -> None:
    (tmp_path / "words.txt").write_text("<eps> 0\nCAT 1\nTHE 2\n<UNK> 3\n#0 4\n<s> 5\n</s> 6\n")
    (tmp_path / "counts").write_text("horse\t90\nHorse 9\ncat 5\nnever 0\n")
    assert read_vocabulary(tmp_path / "words.txt") == ["CAT", "THE"]
    expected = {"HORSE": 99, "CAT": 5, "NEVER": 0}
    assert read_word_counts(tmp_path / "counts", "upper") == expected
    model = run(
        *("--text", text, "--out", tmp_path / "a.arpa.gz", "--case", "upper", "--order", 2),
        *("--vocabulary", tmp_path / "words.txt", "--word_counts", tmp_path / "counts"),
    )
    assert sorted(model.vocabulary) == sorted([*expected, "THE", "<s>", "</s>", "<unk>"])
    scores = [model.score([word], bos=False, eos=False) for word in ("HORSE", "NEVER", "DOG")]
    assert scores[0] > scores[1] and scores[2] > scores[1]  # DOG is <unk>, which the text has


def test_entropy_pruning(text, tmp_path, no_lmplz, caplog) -> None:
    full = run("--text", text, "--out", tmp_path / "a.arpa")
    pruned = run("--text", text, "--out", tmp_path / "b.arpa", "--entropy_prune", 0.01)
    assert full.counts[0] == pruned.counts[0] and sum(full.counts) > sum(pruned.counts)


def test_perplexity(text, tmp_path, no_lmplz, capsys) -> None:
    (tmp_path / "test").write_text("THE CAT SAW A HORSE\nA DOG\n")
    out = tmp_path / "a.arpa"
    model = run("--text", text, "--out", out, "--perplexity", tmp_path / "test")
    found = perplexity(model, [line.split() for line in ("THE CAT SAW A HORSE", "A DOG")], batch=1)
    assert (found.sentences, found.words, found.unknown) == (2, 7, 1)
    scores = model.score_words("THE CAT SAW A HORSE".split()), model.score_words("A DOG".split())
    total = sum(map(sum, scores))
    assert found.log_prob == pytest.approx(total)
    assert found.log_prob_known == pytest.approx(total - scores[0][4])
    assert found.with_unknown == pytest.approx(2.718281828 ** (-total / 9))
    assert found.known == pytest.approx(2.718281828 ** (-found.log_prob_known / 8))
    shown = capsys.readouterr().out
    assert f"perplexity {found.known:.2f} without and {found.with_unknown:.2f} with" in shown
    assert "1 of 7 words unknown (14.29%), 2 sentences" in shown


@pytest.mark.parametrize(
    "name, content, options, message",
    [
        ("text2", b"", ["--text", "text2"], "text2: no words$"),
        ("text2", b"u1\nu2\n", ["--text", "text2", "--text_type", "kaldi"], "no words after the"),
        ("text2", b"a\nb <s> c\n", ["--text", "text2"], "text2:2: take <s> and </s> out"),
        ("text2", b"a\n\xff\n", ["--text", "text2"], "text2:2: not UTF-8"),
        ("text2", gzip.compress(b"abc" * 99)[:-9], ["--text", "text2"], "damaged gzip"),
        ("words", b"a b\n", ["--vocabulary", "words"], "words:1: a word, or a word and a number"),
        ("words", b"<eps> 0\n", ["--vocabulary", "words"], "words: no words"),
        ("counts", b"a 1\nb\n", ["--word_counts", "counts"], "counts:2: a word and its count"),
        ("counts", b"a -1\n", ["--word_counts", "counts"], "counts:1: a word and its count"),
        ("counts", b"\n", ["--word_counts", "counts"], "counts: no words"),
        ("words", b"a\n", ["--vocabulary", "words", "--engine", "lmplz"], "needs --engine own"),
        ("x", b"", ["--text", "absent"], "absent: not there"),
        ("x", b"", ["--perplexity", "absent"], "absent: not there"),
        ("x", b"", ["--order", "0", "--engine", "own"], "at least 1, not 0"),
        ("x", b"", ["--entropy_prune", "0", "--engine", "own"], "entropy pruning is above 0"),
        ("x", b"", ["--prune", "1", "--engine", "own"], "prune 1"),
    ],
)
def test_bad_input_is_one_line(
    name, content, options, message, text, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit, match=message) as caught:
        train_ngram.main(["--text", "text", "--out", "a.arpa", *options])
    assert str(caught.value).startswith("train_ngram: ") and "\n" not in str(caught.value)
    assert not (tmp_path / "a.arpa").exists()
