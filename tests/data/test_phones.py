from __future__ import annotations

import pytest

from espnet_plugin.data.phones import (
    ARPABET,
    CONSONANTS,
    SILENCE,
    VOWELS,
    Phone,
    fold_phone,
    from_espeak,
    merge_silences,
)


def test_there_are_39_phones():
    assert len(ARPABET) == 39 == len(VOWELS) + len(CONSONANTS)


@pytest.mark.parametrize(
    "label, folded",
    [("AH0", "AH"), ("ey1", "EY"), ("S", "S"), ("", "SIL"), ("sp", "SIL"), ("sil", "SIL")],
)
def test_fold(label, folded):
    assert fold_phone(label) == folded


def test_unknown_word_is_kept_apart_and_others_are_refused():
    assert fold_phone("spn") == "SPN"
    with pytest.raises(ValueError, match="'QQ'"):
        fold_phone("QQ")


def test_stress_goes_to_the_first_vowel():
    assert from_espeak("'aU", "en-us") == ("AW1",)
    assert from_espeak(",aI@", "en-us") == ("AY2", "AH0")
    assert from_espeak("t#", "en-us") == ("T",)
    assert from_espeak("_:", "en") == (SILENCE,)


def test_r_is_heard_in_america_alone_and_once():
    assert from_espeak("'A@", "en-us") == ("AA1", "R")
    assert from_espeak("'A@", "en-us-nyc") == ("AA1", "R")
    assert from_espeak("'A@", "en-gb-x-rp") == ("AA1",)
    assert from_espeak("e@", "en-us", following="r-") == ("EH0",)


def test_unknown_mnemonic_is_named():
    with pytest.raises(ValueError, match="'Q2' \\(en-us\\)"):
        from_espeak("Q2", "en-us")


def test_merge_silences():
    phones = [Phone("SIL", 0, 3), Phone("SIL", 3, 5), Phone("T", 5, 5), Phone("S", 5, 9)]
    assert merge_silences(phones) == [Phone("SIL", 0, 5), Phone("S", 5, 9)]


def test_real_dictionary_folds(data_root):
    lexicon = data_root / "lexicon/librispeech_subset_lexicon.txt"
    if not lexicon.is_file():
        pytest.skip(f"no {lexicon}")
    lines = lexicon.read_text(encoding="utf-8").splitlines()
    used = {fold_phone(phone) for line in lines for phone in line.split()[1:]}
    assert used == set(ARPABET)
