"""The token list is in ESPnet's order and its ids are ESPnet's."""

from __future__ import annotations

import pytest
import sentencepiece

from espnet_plugin.bin.train_tokens import main
from espnet_plugin.data.tokens import read_transcripts, train_tokens

SENTENCES = ["THE CAT SAW THE DOG", "A DOG SAW THE SEA", "SEE THE CAT GO TO SEA", "GO DOG GO"] * 5


def test_order_and_ids_are_those_of_espnet(tmp_path):
    from espnet2.text.build_tokenizer import build_tokenizer
    from espnet2.text.token_id_converter import TokenIDConverter

    model, tokens = train_tokens(SENTENCES, tmp_path / "bpe", 16)
    lines = tokens.read_text().splitlines()
    assert len(lines) == 16 + 2 and len(set(lines)) == len(lines)
    assert lines[0] == "<blank>" and lines[1] == "<unk>" and lines[-1] == "<sos/eos>"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    assert lines[1:-1] == [pieces.id_to_piece(i) for i in range(pieces.get_piece_size())]
    espnet = TokenIDConverter(token_list=str(tokens), unk_symbol="<unk>")
    for sentence in SENTENCES[:4]:
        cut = build_tokenizer("bpe", bpemodel=str(model)).text2tokens(sentence)
        ids = espnet.tokens2ids(cut)
        assert [lines[i] for i in ids] == cut
        assert ids == [i + 1 for i in pieces.encode(sentence)]
        assert pieces.decode(pieces.encode(sentence)) == sentence


def test_too_large_a_vocabulary_leaves_what_was_there(tmp_path):
    train_tokens(SENTENCES, tmp_path / "bpe", 16)
    before = {p.name: p.read_bytes() for p in (tmp_path / "bpe").iterdir()}
    with pytest.raises(ValueError, match="no unigram vocabulary of 4000"):
        train_tokens(SENTENCES, tmp_path / "bpe", 4000)
    assert {p.name: p.read_bytes() for p in (tmp_path / "bpe").iterdir()} == before


def test_command_reads_kaldi_text(tmp_path):
    text = tmp_path / "text"
    text.write_text("".join(f"u{i} {s}\n" for i, s in enumerate(SENTENCES)) + "u99\n")
    assert read_transcripts([text]) == SENTENCES
    main(["--text", str(text), "--out", str(tmp_path / "bpe"), "--vocab_size", "16"])
    assert (tmp_path / "bpe" / "tokens.txt").read_text().count("\n") == 18


def test_text_without_words_is_named(tmp_path):
    (tmp_path / "text").write_text("u1\nu2 \n")
    with pytest.raises(SystemExit, match="text: no transcript"):
        main(["--text", str(tmp_path / "text"), "--out", str(tmp_path / "b"), "--vocab_size", "9"])
