from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espnet_plugin.decode.lang import LangDir, Pronunciations, make_lang
from espnet_plugin.decode.lang.fsa import disambiguation
from espnet_plugin.decode.lang.langdir import load_lexicon_fsa
from espnet_plugin.decode.lang.lexicon import Entry
from espnet_plugin.decode.lang.prepare import out_of_vocabulary

TOKENS = ["<blank>", "<unk>", "a", "b", "sil"]
ENTRIES = [
    Entry("B", (3,)),
    Entry("AB", (2, 3), 0.25),
    Entry("AB", (2,)),
    Entry("A", (2,)),
    Entry("AA", (2, 2)),
]


@pytest.mark.parametrize("silence", [None, "sil"])
def test_comes_back_as_it_was_saved(tmp_path: Path, silence: str | None) -> None:
    lang = make_lang(ENTRIES, TOKENS, silence, 0.3)
    lang.save(tmp_path / "lang", {"oov.txt": ["word 3"]})
    again = LangDir.load(tmp_path / "lang")
    assert again.tokens == TOKENS
    assert again.words == ["<eps>", "A", "AA", "AB", "B"]
    assert again.lexicon == {"A": [(2,)], "AA": [(2, 2)], "AB": [(2, 3), (2,)], "B": [(3,)]}
    assert np.allclose(again.pronunciations.log_prob, lang.pronunciations.log_prob)
    assert again.silence == lang.silence
    assert again.silence_probability == 0.3
    assert (tmp_path / "lang/oov.txt").read_text() == "word 3\n"
    assert (tmp_path / "lang/words.txt").read_text().splitlines()[-3:] == [
        "#0 5",
        "<s> 6",
        "</s> 7",
    ]
    assert (tmp_path / "lang/lexicon.txt").read_text().splitlines()[2] == "AB a b"


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    make_lang(ENTRIES, TOKENS).save(tmp_path / "lang")
    before = {path.name: path.read_bytes() for path in (tmp_path / "lang").iterdir()}
    broken = make_lang(ENTRIES, TOKENS)
    broken.words.pop()
    with pytest.raises(IndexError):
        broken.save(tmp_path / "lang")
    assert {path.name: path.read_bytes() for path in (tmp_path / "lang").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["lang"]


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="tokens.txt: missing; prepare_lang"):
        LangDir.load(tmp_path / "none")
    make_lang(ENTRIES, TOKENS).save(tmp_path / "lang")
    lexicon = tmp_path / "lang/lexiconp.txt"
    lexicon.write_text(lexicon.read_text() + "A 1 zz\n")
    with pytest.raises(ValueError, match="lexiconp.txt:6: 'zz' is not in"):
        LangDir.load(tmp_path / "lang")
    for name, content, message in (
        ("lexiconp.txt", "A\n", "lexiconp.txt:1: expected a word, its probability and its tokens"),
        ("lexiconp.txt", "A x a\n", "lexiconp.txt:1: expected a word, its probability"),
        ("lexiconp.txt", "", "lexiconp.txt: no pronunciation in it"),
        ("lang.json", "{}", "lang.json: damaged, run prepare_lang again"),
        ("lang.json", "{", "lang.json: damaged, run prepare_lang again"),
        ("words.txt", "\u00e9", "words.txt:1: expected a word and its id 0"),
    ):
        make_lang(ENTRIES, TOKENS).save(tmp_path / "lang")
        (tmp_path / "lang" / name).write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            LangDir.load(tmp_path / "lang")
    (tmp_path / "lang/tokens.txt").write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match="tokens.txt: not UTF-8"):
        LangDir.load(tmp_path / "lang")
    for arguments, message in {
        (None, "nothing", 0.5): "'nothing' is not in the token list",
        (None, "sil", 1.0): "must be between 0 and 1",
    }.items():
        with pytest.raises(ValueError, match=message):
            make_lang(ENTRIES, TOKENS, *arguments[1:])
    with pytest.raises(ValueError, match="no word has a pronunciation"):
        make_lang([], TOKENS)


def test_replaces_nothing_but_language_directories(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    make_lang(ENTRIES, TOKENS).save(tmp_path / "data")  # empty until now
    (tmp_path / "other").mkdir()
    (tmp_path / "other/wav.scp").write_text("u1 u1.wav\n")
    for name in ("other", "other/wav.scp"):
        with pytest.raises(ValueError, match=f"{name}: is there and is no language directory"):
            make_lang(ENTRIES, TOKENS).save(tmp_path / name)
    assert (tmp_path / "other/wav.scp").read_text() == "u1 u1.wav\n"


@given(st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=4), min_size=1, max_size=8))
def test_disambiguation_symbols(spelt: list[list[int]]) -> None:
    prons = Pronunciations.from_entries((i + 1, tokens, 1.0) for i, tokens in enumerate(spelt))
    symbols = disambiguation(prons).tolist()
    marked = [(*tokens, -symbol) for tokens, symbol in zip(spelt, symbols, strict=True)]
    marked = [tokens[:-1] if tokens[-1] == 0 else tokens for tokens in marked]
    for one, two in itertools.permutations(marked, 2):
        assert one != two[: len(one)]  # none begins another: L∘G can be determinised
    for i, tokens in enumerate(spelt):
        others = spelt[:i] + spelt[i + 1 :]
        if not any(other[: len(tokens)] == tokens for other in others):
            assert symbols[i] == 0


def test_l_has_the_pronunciations_and_silences(tmp_path: Path) -> None:
    k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")
    lang = make_lang(ENTRIES, TOKENS, "sil", 0.3)
    lang.save(tmp_path / "lang")
    for disambiguated in (False, True):
        fsa = load_lexicon_fsa(tmp_path / "lang", disambiguated)
        labels = fsa.labels.clone()
        labels[labels >= len(TOKENS)] = 0  # disambiguation symbols say nothing
        arcs = fsa.arcs.values().clone()
        arcs[:, 2] = labels
        arcs = arcs[fsa.labels != len(TOKENS)]  # the loop of #0 says nothing for ever
        plain = k2.arc_sort(k2.Fsa(arcs))
        for tokens, expected in {
            (2,): 2 * math.log(0.7),
            (2, 4): math.log(0.7) + math.log(0.3),
            (4, 2): math.log(0.7) + math.log(0.3),
            (2, 3): 3 * math.log(0.7),
            (4, 2, 4, 3): 2 * math.log(0.3) + math.log(0.7),
        }.items():
            found = k2.connect(k2.intersect(plain, k2.linear_fsa(list(tokens))))
            best = float(k2.create_fsa_vec([k2.top_sort(found)]).get_tot_scores(True, False)[0])
            assert best == pytest.approx(expected, abs=1e-5)
        assert not k2.connect(k2.intersect(plain, k2.linear_fsa([4, 4]))).num_arcs
        assert set(fsa.aux_labels.tolist()) == {-1, 0, 1, 2, 3, 4} | (
            {5} if disambiguated else set()
        )


def test_l_is_written_without_k2(tmp_path: Path) -> None:
    make_lang(ENTRIES, TOKENS).save(tmp_path)
    content = torch.load(tmp_path / "L.pt")
    assert content["arcs"].dtype == content["aux_labels"].dtype == torch.int32
    assert bool((content["arcs"][:-1, 0] <= content["arcs"][1:, 0]).all())


def test_words_outside_are_ranked_by_count() -> None:
    counts = {"x": 1, "A": 9, "y": 5, "w": 5}
    assert list(out_of_vocabulary(["<eps>", "A"], counts).items()) == [("w", 5), ("y", 5), ("x", 1)]
