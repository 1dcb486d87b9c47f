from __future__ import annotations

from pathlib import Path

import pytest

from espnet_plugin.bin.prepare_lang import main
from espnet_plugin.data.tokens import train_tokens
from espnet_plugin.decode.lang import LangDir


def test_from_a_lexicon(tmp_path: Path) -> None:
    (tmp_path / "tokens.txt").write_text("<blank>\n<unk>\nAH\nB\nSIL\n<sos/eos>\n")
    (tmp_path / "lexicon.txt").write_text("A AH\nAB AH B\nB B\n")
    (tmp_path / "text").write_text("u1 A AB ZOO\nu2 ZOO MOO\n")
    common = ["--tokens", str(tmp_path / "tokens.txt"), "--out", str(tmp_path / "lang")]
    common += ["--lexicon", str(tmp_path / "lexicon.txt"), "--text", str(tmp_path / "text")]
    main([*common, "--silence", "SIL"])
    lang = LangDir.load(tmp_path / "lang")
    assert lang.words == ["<eps>", "A", "AB", "B"]
    assert lang.silence == 4
    assert (tmp_path / "lang/oov.txt").read_text() == "ZOO 2\nMOO 1\n"
    (tmp_path / "words").write_text("A\nZOO\n")
    main([*common, "--words", str(tmp_path / "words")])
    assert LangDir.load(tmp_path / "lang").words == ["<eps>", "A"]
    assert (tmp_path / "lang/unspelt.txt").read_text() == "ZOO not in the lexicon\n"
    (tmp_path / "lexicon.txt").write_text("A\nB XX\n")
    with pytest.raises(SystemExit) as error:
        main(common)
    assert "lexicon.txt:1: A has no" in str(error.value)
    assert "lexicon.txt:2: B: not in the token list: XX" in str(error.value)


def test_from_pieces_of_the_words_of_a_text(tmp_path: Path) -> None:
    sentences = ["the cat sat on the mat", "a cat and a hat"] * 5
    bpemodel, tokens = train_tokens(sentences, tmp_path / "bpe", 14)
    (tmp_path / "text").write_text("u1 the cat\nu2 the müll\n", encoding="utf-8")
    cmd = ["--tokens", str(tokens), "--bpemodel", str(bpemodel), "--out", str(tmp_path / "lang")]
    words = ["--words", str(tmp_path / "text"), "--words_format", "text"]
    main([*cmd, *words, "--text", str(tmp_path / "text"), "--num_segmentations", "2"])
    lang = LangDir.load(tmp_path / "lang")
    assert lang.words == ["<eps>", "cat", "the"]
    assert lang.tokens == tokens.read_text(encoding="utf-8").splitlines()
    assert (tmp_path / "lang/oov.txt").read_text(encoding="utf-8") == "müll 1\n"
    assert (tmp_path / "lang/unspelt.txt").read_text(encoding="utf-8").startswith("müll ")
    with pytest.raises(SystemExit):
        main(cmd)  # no words
