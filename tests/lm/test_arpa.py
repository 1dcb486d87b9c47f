from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from espnet_plugin.lm import NGram, NGramError, train_ngram

ELSEWHERE = """# made elsewhere

\\data\\
ngram 1 = 5
ngram  2=3
ngram 3=1

\\1-grams:
-99\t<s>\t-0.5
-1.0 </S> 0
-0.5 THE -0.25
-0.75\tCAT
-2   H\u00c9

\\2-grams:
-0.1 <s> THE -0.125

-0.2\tTHE CAT
-0.3 CAT </S>

\\3-grams:
-0.05 <s> THE CAT
\\end\\
anything
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def log10_words(model: NGram, words: str, **options: bool) -> list[float]:
    return [score / math.log(10) for score in model.score_words(words.split(), **options)]


def test_arpa_of_another_style(tmp_path: Path) -> None:
    model = NGram.load(write(tmp_path / "a.arpa", ELSEWHERE))
    assert model.order == 3 and model.counts == [5, 3, 1]
    assert model.vocabulary == ["<s>", "</S>", "THE", "CAT", "H\u00c9"]
    assert "CAT" in model and "DOG" not in model
    # THE: 2-gram; CAT: 3-gram; </S>: no 3-gram, THE CAT has no back-off weight, 2-gram
    assert log10_words(model, "THE CAT") == pytest.approx([-0.1, -0.05, -0.3])
    assert model.score("THE CAT".split()) == pytest.approx(-0.45 * math.log(10))
    # H\u00c9 after THE: back-offs of <s> THE and THE; CAT after H\u00c9: a context that is nowhere
    assert log10_words(model, "THE H\u00c9 CAT", eos=False) == pytest.approx([-0.1, -2.375, -0.75])
    assert log10_words(model, "THE", bos=False, eos=False) == pytest.approx([-0.5])
    assert log10_words(model, "CAT", bos=True, eos=False) == pytest.approx([-1.25])


def test_unknown_words_without_unk(tmp_path: Path) -> None:
    model = NGram.load(write(tmp_path / "a.arpa", ELSEWHERE))
    assert log10_words(model, "THE DOG CAT") == pytest.approx([-0.1, -math.inf, -0.75, -0.3])
    assert model.score(["DOG"]) == -math.inf
    ends = NGram.load(write(tmp_path / "b.arpa", ELSEWHERE.replace("</S>", "<END>")))
    assert log10_words(ends, "THE") == pytest.approx([-0.1, -math.inf])


def test_unknown_words_as_unk(tmp_path: Path) -> None:
    model = NGram.load(write(tmp_path / "a.arpa", ELSEWHERE.replace("H\u00c9", "<UNK>")))
    assert log10_words(model, "THE DOG", eos=False) == pytest.approx([-0.1, -2.375])


def test_nothing_to_score(tmp_path: Path) -> None:
    model = NGram.load(write(tmp_path / "a.arpa", ELSEWHERE))
    assert model.score([], bos=False, eos=False) == 0
    assert log10_words(model, "") == pytest.approx([-1.5])
    assert model.score_sentences([]) == []
    lengths = [len(s) for s in model.score_sentences([["THE"], [], ["CAT", "CAT"]])]
    assert lengths == [2, 1, 3]


def test_prefixes_that_are_missing(tmp_path: Path) -> None:
    lines = [
        "\\data\\", "ngram 1=4", "ngram 2=1", "ngram 3=2", "ngram 4=1", "\\1-grams:",
        "-1 a -0.5", "-1.5 b -0.25", "-2 c", "-3 </s>", "\\2-grams:", "-0.5 b c -0.125",
        "\\3-grams:", "-0.3 b c a", "-0.4 a b c", "\\4-grams:", "-0.2 c c a b", "\\end\\",
    ]  # fmt: skip
    model = NGram.load(write(tmp_path / "a.arpa", "\n".join(lines)))
    assert model.counts == [4, 1, 2, 1]
    scores = log10_words(model, "a b c a", bos=False, eos=False)
    assert scores == pytest.approx([-1, -2, -0.4, -0.3])
    assert log10_words(model, "c c a b", bos=False, eos=False)[-1] == pytest.approx(-0.2)
    model.save(tmp_path / "b.arpa")
    again = NGram.load(tmp_path / "b.arpa")
    assert again.counts == model.counts
    assert log10_words(again, "a b c a", bos=False, eos=False) == pytest.approx(scores)


def test_batches_equal_single_sentences(mini_corpus) -> None:
    model = train_ngram(mini_corpus[:100], 4)
    for options in ({}, {"bos": False}, {"eos": False}):
        together = model.score_sentences(mini_corpus[100:130], **options)
        for words, scores in zip(mini_corpus[100:130], together, strict=True):
            assert model.score_words(words, **options) == scores.tolist()


@pytest.mark.parametrize("name", ["m.arpa", "m.arpa.gz"])
def test_saved_models_come_back_exactly(name: str, tmp_path: Path, mini_corpus) -> None:
    model = train_ngram(mini_corpus, 3, prune=(0, 0, 1))
    model.save(tmp_path / name)
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    again = NGram.load((tmp_path / name).rename(tmp_path / "no_suffix"))
    assert again.vocabulary == model.vocabulary and again.counts == model.counts
    found, expected = again.score_sentences(mini_corpus), model.score_sentences(mini_corpus)
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(expected))


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("\\data\\", "data", "a.arpa: no .data. line, so this is no ARPA file"),
        ("ngram 1 = 5\n", "", "a.arpa:4: 'ngram  2=3' where ngram 1 should be"),
        ("ngram 1 = 5\nngram  2=3\nngram 3=1\n", "", "a.arpa:5: .* where ngram 1=... should be"),
        ("2=3", "2=4", r"a.arpa:21: 3 2-grams, but the header says 4"),
        ("2=3", "2=2", r"a.arpa:19: more 2-grams than the header's 2"),
        ("-0.3 CAT </S>", "-0.3 CAT", "a.arpa:19: 2 fields where a 2-gram has 3 or 4: '-0.3 CAT'"),
        ("-0.2\tTHE CAT", "-0.2 THE CAT 1 2", "a.arpa:18: 5 fields"),
        ("-0.2\tTHE CAT", "-0.2 THE CATS", "a.arpa:18: 'CATS' is not in the 1-grams"),
        ("-0.2\tTHE CAT", "x THE CAT", "a.arpa:18: 'x' is no number"),
        ("-0.2\tTHE CAT", "0.2 THE CAT", "a.arpa:18: '0.2' is no log10 probability"),
        ("-0.2\tTHE CAT", "nan THE CAT", "a.arpa:18: 'nan' is no log10 probability"),
        ("-0.125", "nan", "a.arpa:16: 'nan' is no back-off weight"),
        ("-0.3 CAT </S>", "-0.3 <s> THE", "a.arpa:19: this 2-gram is there twice"),
        ("-0.75\tCAT", "-0.75\tTHE", "a.arpa:12: this 1-gram is there twice"),
        ("\\2-grams:", "\\3-grams:", "a.arpa:15: .* where .2-grams: should be"),
        ("\\end\\\nanything\n", "", "a.arpa:22: the file ends where .end. should be"),
        ("\\end\\", "\\4-grams:", "a.arpa:23: .* where .end. should be"),
    ],
)
def test_bad_files_are_refused_by_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in ELSEWHERE
    write(tmp_path / "a.arpa", ELSEWHERE.replace(old, new, 1))
    with pytest.raises(NGramError, match=message) as caught:
        NGram.load(tmp_path / "a.arpa")
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_cut_files_are_refused(tmp_path: Path, mini_corpus) -> None:
    train_ngram(mini_corpus, 3).save(tmp_path / "a.arpa")
    lines = (tmp_path / "a.arpa").read_text().splitlines(keepends=True)
    write(tmp_path / "cut.arpa", "".join(lines[:100]))
    with pytest.raises(NGramError, match=r"cut.arpa:100: the file ends after \d+ of \d+ 2-grams"):
        NGram.load(tmp_path / "cut.arpa")
    packed = gzip.compress("".join(lines).encode())
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(NGramError, match="cut.gz: damaged gzip file"):
        NGram.load(tmp_path / "cut.gz")
    (tmp_path / "latin.arpa").write_bytes(ELSEWHERE.encode("latin-1"))
    with pytest.raises(NGramError, match=r"latin.arpa:13: the word b'H.*' is not UTF-8"):
        NGram.load(tmp_path / "latin.arpa")
    with pytest.raises(FileNotFoundError):
        NGram.load(tmp_path / "absent.arpa")


def test_line_numbers_beyond_one_chunk(tmp_path: Path) -> None:
    words = [f"-4 w{i} 0\n" for i in range(5000)]
    words[4321] = "-4 w1 0\n"
    text = "".join(["\\data\\\nngram 1=5000\n\n\\1-grams:\n", *words, "\\end\\\n"])
    with pytest.raises(NGramError, match="a.arpa:4326: this 1-gram is there twice"):
        NGram.load(write(tmp_path / "a.arpa", text))


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    write(tmp_path / "a.arpa", "old")
    model = train_ngram([["lone\udc80surrogate"]], 2)
    with pytest.raises(UnicodeEncodeError):
        model.save(tmp_path / "a.arpa")
    assert [p.name for p in tmp_path.iterdir()] == ["a.arpa"]
    assert (tmp_path / "a.arpa").read_text() == "old"
