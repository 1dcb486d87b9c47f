"""The oracle of a lattice against the edit distance of every one of its paths."""

from __future__ import annotations

from typing import List

import pytest
import yaml

k2 = pytest.importorskip("k2", reason="k2 is not installed for this torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from small_lattices import Arc, Small, small_lattices, to_fsa_vec, words  # noqa: E402

from espnet_plugin.decode.rescore.nbest import Path, nbest_paths  # noqa: E402
from espnet_plugin.decode.rescore.oracle import (  # noqa: E402
    count_words,
    lattice_oracle,
    nbest_oracle,
    token_units,
    word_units,
)
from espnet_plugin.decode.text import TokenText  # noqa: E402

WORDS = ["<eps>", "a", "b", "c"]
PIECES = ["<blank>", "<unk>", "▁a", "▁b", "a", "ab", "▁", "▁ab"]


def distance(reference: List[str], said: List[str]) -> int:
    """Levenshtein's distance, plainly."""
    row = list(range(len(said) + 1))
    for i, word in enumerate(reference):
        before, row = row, [i + 1]
        for k, other in enumerate(said):
            row.append(min(before[k + 1] + 1, row[k] + 1, before[k] + (word != other)))
    return row[-1]


REFERENCES = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=5)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(small_lattices(), REFERENCES), min_size=1, max_size=3))
def test_words_equal_enumeration(cases) -> None:
    lattices, references = [list(column) for column in zip(*cases, strict=True)]
    found = lattice_oracle(to_fsa_vec(lattices), references, word_units(WORDS))
    for small, reference, counts in zip(lattices, references, found, strict=True):
        said = [[WORDS[word] for word in words(path)] for path in small.paths()] or [[]]
        assert counts.errors == min(distance(reference, one) for one in said)
        check(counts, reference, {len(one) for one in said})


def check(counts, reference: List[str], lengths: set) -> None:
    assert counts.utterances == 1 and counts.tokens == len(reference)
    assert counts.correct + counts.substituted + counts.deleted == len(reference)
    assert len(reference) - counts.deleted + counts.inserted in lengths
    assert counts.wrong_utterances == (counts.errors > 0)


@settings(max_examples=150, deadline=None)
@given(
    small_lattices(vocabulary=len(PIECES) - 1),
    st.lists(st.sampled_from(["a", "aab", "ab", "b", "ba", "bab", "⁇", "c"]), max_size=4),
)
def test_pieces_equal_enumeration_of_texts(small: Small, reference: List[str]) -> None:
    lattice = to_fsa_vec([small])
    (counts,) = lattice_oracle(lattice, [reference], token_units(PIECES, "bpe"))
    said = [text(words(path)).split() for path in small.paths()] or [[]]
    assert counts.errors == min(distance(reference, one) for one in said)
    check(counts, reference, {len(one) for one in said})


def text(labels) -> str:
    parts = (PIECES[label] for label in labels)
    return "".join(" ⁇ " if p == "<unk>" else p for p in parts).replace("▁", " ")


def test_units_are_the_tokenizers_own(tiny_experiment) -> None:
    token_list = yaml.safe_load((tiny_experiment / "config.yaml").read_text())["token_list"]
    decode = TokenText(token_list, "bpe", str(tiny_experiment / "bpe.model"))
    units = token_units(token_list, "bpe")
    for labels in ([5, 1, 9, 30, 4], [1], [3, 3, 20, 1, 1, 12], [25, 2, 7, 11, 38]):
        assert decode(labels)[0].split() == "".join(units[label] for label in labels).split()
    assert "".join(token_units(["<blank>", "a", "<space>", "b"], "char")[1:]) == "a b"
    assert token_units(["<blank>", "AH", "B"], "phn") == [" <blank> ", " AH ", " B "]


def test_more_words_right_among_equally_many_errors() -> None:
    """Two substitutions, or one word right with one deleted and one inserted."""
    lattice = to_fsa_vec([Small(4, [Arc(0, 1, 1, (2,)), Arc(1, 2, 1, (3,)), Arc(2, 3, -1)])])
    (counts,) = lattice_oracle(lattice, [["a", "b"]], word_units(WORDS))
    assert (counts.substituted, counts.inserted, counts.deleted) == (0, 1, 1)
    assert counts.correct == 1


def test_no_path_means_all_deleted() -> None:
    dead_end = Small(3, [Arc(0, 1, 1, (1,))])
    silent = Small(2, [Arc(0, 1, -1)])
    lattice = to_fsa_vec([Small(0), dead_end, silent, silent])
    references = [["a", "b"], ["a"], ["c"], []]
    found = lattice_oracle(lattice, references, word_units(WORDS))
    assert [counts.deleted for counts in found] == [2, 1, 1, 0]
    assert [counts.errors for counts in found] == [2, 1, 1, 0]


def test_nbest_oracle_takes_the_first_of_the_best() -> None:
    lists = [
        [Path(labels, (), score, 0.0, 0.0) for labels, score in some]
        for some in (
            [((1, 2), -1.0), ((1, 3), -2.0), ((3,), -3.0), ((1, 2, 3), -4.0)],
            [],
            [((), -1.0)],
        )
    ]

    def to_words(labels):
        return [WORDS[label] for label in labels]

    found = nbest_oracle(lists, [["a", "c"], ["a", "b"], ["b"]], to_words)
    assert found[0] == (lists[0][1], count_words(["a", "c"], ["a", "c"]))
    assert found[1] == (None, count_words(["a", "b"], []))
    assert found[2][0] == lists[2][0] and found[2][1].deleted == 1
    (path, counts), _, _ = nbest_oracle(lists, [["d"], [], []], to_words)
    assert path == lists[0][2] and counts.errors == 1


@settings(max_examples=30, deadline=None)
@given(small_lattices(), REFERENCES)
def test_oracle_of_all_paths_is_that_of_the_lattice(small: Small, reference: List[str]) -> None:
    lattice = to_fsa_vec([small])
    ((_, counts),) = nbest_oracle(
        nbest_paths(lattice, 1000), [reference], lambda labels: [WORDS[k] for k in labels]
    )
    assert lattice_oracle(lattice, [reference], word_units(WORDS))[0].errors == counts.errors


@given(REFERENCES, REFERENCES)
def test_count_words(reference: List[str], said: List[str]) -> None:
    counts = count_words(reference, said)
    assert counts.errors == distance(reference, said)
    check(counts, reference, {len(said)})
