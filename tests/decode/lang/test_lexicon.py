from __future__ import annotations

from pathlib import Path

import pytest

from espnet_plugin.decode.lang import read_lexicon
from espnet_plugin.decode.lang.lexicon import Entry

TOKENS = ["<blank>", "<unk>", "AH", "B", "SIL"]


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_reads_words_with_several_pronunciations(tmp_path: Path) -> None:
    path = write(tmp_path / "lexicon.txt", "A AH", "A\tAH  B", "", "B B")
    assert read_lexicon(path, TOKENS) == [Entry("A", (2,)), Entry("A", (2, 3)), Entry("B", (3,))]


def test_reads_probabilities(tmp_path: Path) -> None:
    path = write(tmp_path / "lexiconp.txt", "A 0.25 AH", "A 1 B")
    assert read_lexicon(path, TOKENS, probabilities=True) == [
        Entry("A", (2,), 0.25),
        Entry("A", (3,), 1.0),
    ]


def test_all_bad_lines_are_listed_with_their_numbers(tmp_path: Path) -> None:
    lines = ["A AH", "B", "C AH XX YY", "A AH", "D <blank>", "<s> AH", "E B"]
    path = write(tmp_path / "lexicon.txt", *lines)
    with pytest.raises(ValueError) as error:
        read_lexicon(path, TOKENS)
    assert str(error.value).splitlines() == [
        f"{path}: 5 bad lines",
        f"{path}:2: B has no pronunciation",
        f"{path}:3: C: not in the token list: XX YY",
        f"{path}:4: A AH is also in line 1",
        f"{path}:5: D: not in the token list: <blank>",
        f"{path}:6: <s> is reserved",
    ]


def test_bad_probabilities_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "lexiconp.txt", "A AH", "B 0 B", "C 1.5 B", "D", "E 0.5")
    with pytest.raises(ValueError) as error:
        read_lexicon(path, TOKENS, probabilities=True)
    found = [line.split(":")[1] for line in str(error.value).splitlines()[1:]]
    assert found == ["1", "2", "3", "4", "5"]


def test_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pronunciation in it"):
        read_lexicon(write(tmp_path / "lexicon.txt"), TOKENS)
