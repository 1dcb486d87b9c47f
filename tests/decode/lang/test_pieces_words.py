from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from espnet_plugin.data.tokens import train_tokens
from espnet_plugin.decode.lang import segment_words
from espnet_plugin.decode.lang.langdir import read_tokens
from espnet_plugin.decode.lang.words import count_words, read_word_list

SENTENCES = [
    "the cat sat on the mat and that was that",
    "a cat and a hat and a bat and another hat",
    "that mat is the hat of the cat of the other house",
    "the mother and the brother of that cat are at the other mat",
] * 5
WORDS = ["cat", "hat", "that", "the", "a"]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp(request.param) / "tokens"
    return request.param, *train_tokens(SENTENCES, out, 24, request.param)


def test_spells_words_as_the_model_does(model) -> None:
    import sentencepiece

    _, path, token_list = model
    tokens = read_tokens(token_list)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    entries, unspelt = segment_words(WORDS, path, tokens)
    assert not unspelt
    assert [entry.word for entry in entries] == WORDS
    for entry in entries:
        assert [tokens[i] for i in entry.tokens] == processor.encode(entry.word, out_type=str)


def test_several_segmentations(model) -> None:
    kind, path, token_list = model
    tokens = read_tokens(token_list)
    if kind == "bpe":
        with pytest.raises(ValueError, match="need a unigram model"):
            segment_words(WORDS, path, tokens, 3)
        return
    entries, _ = segment_words(WORDS, path, tokens, 3)
    assert entries == segment_words(WORDS, path, tokens, 3)[0]
    first = {}
    for entry in entries:
        first.setdefault(entry.word, entry)
        assert "".join(tokens[i] for i in entry.tokens) == f"▁{entry.word}"
    assert list(first.values()) == segment_words(WORDS, path, tokens)[0]
    that = [entry.tokens for entry in entries if entry.word == "that"]
    assert len(that) == len(set(that)) == 3


def test_words_outside_the_tokens(model) -> None:
    _, path, token_list = model
    tokens = read_tokens(token_list)
    entries, unspelt = segment_words(["cat", "über"], path, tokens)
    assert {entry.word for entry in entries} == {"cat"}
    assert "ü" in unspelt["über"]
    _, unspelt = segment_words(["cat"], path, [t for t in tokens if "c" not in t])
    assert list(unspelt) == ["cat"]


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such SentencePiece model"):
        segment_words(["a"], tmp_path / "none.model", ["<blank>", "a"])
    (tmp_path / "bad.model").write_text("nothing")
    with pytest.raises(ValueError, match="not a SentencePiece model"):
        segment_words(["a"], tmp_path / "bad.model", ["<blank>", "a"])
    with pytest.raises(ValueError, match="num_segmentations must be above 0"):
        segment_words(["a"], tmp_path / "bad.model", ["<blank>", "a"], 0)


def test_word_lists(tmp_path: Path) -> None:
    arpa = "\\data\\\nngram 1=3\n\n\\1-grams:\n-1 <s>\n-1 b -0.5\n-1 a\n-1 <unk>\n\n\\end\\\n"
    files = {
        "list": "b\na\nb\n",
        "text": "u1 b a\nu2\nu3 b\n",
        "counts": "b 7\na 1\n",
        "arpa": arpa,
    }
    for form, content in files.items():
        (tmp_path / form).write_text(content)
        assert read_word_list(tmp_path / form, form) == ["b", "a"]
    with gzip.open(tmp_path / "arpa.gz", "wt") as stream:
        stream.write(arpa)
    assert read_word_list(tmp_path / "arpa.gz", "arpa") == ["b", "a"]
    assert count_words([tmp_path / "text"] * 2) == {"b": 4, "a": 2}
    with pytest.raises(ValueError, match="list:1: expected a word and its count: 'b'"):
        read_word_list(tmp_path / "list", "counts")
    with pytest.raises(ValueError, match="no ARPA file"):
        read_word_list(tmp_path / "list", "arpa")
    for name, form, content, message in (
        ("cut.arpa", "arpa", b"\\data\\\n\\1-grams:\n-1\n", "cut.arpa:3: expected a probability"),
        ("latin", "list", b"a\n\xff\n", "latin:2: not UTF-8"),
        ("cut.gz", "list", gzip.compress(b"a\n" * 9)[:-9], "cut.gz: damaged gzip file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_word_list(tmp_path / name, form)
    with pytest.raises(ValueError, match="form of a word list"):
        read_word_list(tmp_path / "list", "kaldi")
