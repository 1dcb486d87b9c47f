"""Texts as tokens with their words."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_plugin.decode.align.units import AlignError, LexiconUnits, TokenUnits
from espnet_plugin.decode.lang.lexicon import Entry
from espnet_plugin.stacks.experiment import load_experiment


def test_pieces_belong_to_the_words_that_they_spell(tiny_experiment: Path) -> None:
    tokens = load_experiment(tiny_experiment).token_list
    units = TokenUnits(tokens, "bpe", str(tiny_experiment / "bpe.model"))
    text = "she picked the lazy fox"
    transcript, words = units(text)
    assert words == text.split()
    for place, word in enumerate(words):
        own = [tokens[arc.token] for arc in transcript.arcs if arc.word == place]
        assert "".join(own).replace("▁", "") == word


def test_characters_have_words_between_spaces() -> None:
    tokens = ["<blank>", "<unk>", "<space>", "A", "B", "<sos/eos>"]
    transcript, words = TokenUnits(tokens, "char")("AB  A")
    assert words == ["AB", "A"]
    assert [(arc.token, arc.word) for arc in transcript.arcs] == [(3, 0), (4, 0), (2, None), (3, 1)]


def test_what_cannot_be_aligned_says_why() -> None:
    units = TokenUnits(["<blank>", "<unk>", "A", "<sos/eos>"], "word")
    with pytest.raises(AlignError, match="text is empty"):
        units("  ")
    with pytest.raises(AlignError, match="no token 'B'"):
        units("A B")
    with pytest.raises(ValueError, match="--lexicon"):
        TokenUnits(["<blank>", "<unk>", "A"], "phn")


def test_what_is_no_sentencepiece_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.model").write_text("nothing")
    for name in ("bad.model", "none.model"):
        with pytest.raises(ValueError, match=f"{name}: no SentencePiece model is in this file"):
            TokenUnits(["<blank>", "A"], "bpe", str(tmp_path / name))


def test_lexicon_units() -> None:
    tokens = ["<blank>", "<unk>", "AH", "B", "SIL", "<sos/eos>"]
    entries = [Entry("A", (2,)), Entry("AB", (2, 3)), Entry("AB", (3,))]
    units = LexiconUnits(entries, tokens, "SIL")
    transcript, words = units("AB A")
    assert words == ["AB", "A"]
    assert {(arc.token, arc.word) for arc in transcript.arcs} == {
        (4, None), (2, 0), (3, 0), (2, 1)
    }  # fmt: skip
    with pytest.raises(AlignError, match="lexicon has no C"):
        units("A C")
    with pytest.raises(AlignError, match="empty"):
        units("")
    with pytest.raises(ValueError, match="no token sil"):
        LexiconUnits(entries, tokens, "sil")
