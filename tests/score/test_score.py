"""Error counts against an integer dynamic program, editdistance and closed cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_plugin.bin import score as command
from espnet_plugin.score import (
    GAP,
    Counts,
    align,
    bootstrap_interval,
    count_errors,
    paired_interval,
    score_texts,
)
from espnet_plugin.score.sets import ScoreError, read_text
from espnet_plugin.score.tables import alignment_text, results_table
from espnet_plugin.score.units import Tokenizer

WORDS = st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=9)


def distance(ref: list[str], hyp: list[str]) -> int:
    table = np.zeros((len(ref) + 1, len(hyp) + 1), dtype=np.int64)
    table[:, 0] = np.arange(len(ref) + 1)
    table[0] = np.arange(len(hyp) + 1)
    for i, r in enumerate(ref, 1):
        for j, h in enumerate(hyp, 1):
            diagonal = table[i - 1, j - 1] + int(r != h)
            table[i, j] = min(diagonal, table[i - 1, j] + 1, table[i, j - 1] + 1)
    return int(table[-1, -1])


@given(WORDS, WORDS)
def test_alignment_is_best_and_complete(ref: list[str], hyp: list[str]) -> None:
    pairs = align(ref, hyp)
    assert [r for r, _ in pairs if r != GAP] == ref
    assert [h for _, h in pairs if h != GAP] == hyp
    assert (GAP, GAP) not in pairs
    counts = count_errors(pairs)
    assert counts.errors == distance(ref, hyp)
    assert counts.tokens == len(ref)
    assert counts.correct + counts.substituted + counts.deleted == len(ref)
    assert counts.inserted - counts.deleted == len(hyp) - len(ref)
    assert counts.wrong_utterances == int(ref != hyp)
    editdistance = pytest.importorskip("editdistance", reason="editdistance is not installed")
    assert counts.errors == editdistance.eval(ref, hyp)


@pytest.mark.parametrize(
    "ref, hyp, expected",
    [
        ("a b c", "a b c", Counts(1, 3, 3, 0, 0, 0, 0)),
        ("a b c", "a x c", Counts(1, 3, 2, 1, 0, 0, 1)),
        ("a b c", "a c", Counts(1, 3, 2, 0, 1, 0, 1)),
        ("a b c", "a b x c", Counts(1, 3, 3, 0, 0, 1, 1)),
        ("a b c", "", Counts(1, 3, 0, 0, 3, 0, 1)),
        ("", "a b", Counts(1, 0, 0, 0, 0, 2, 1)),
        ("", "", Counts(1, 0, 0, 0, 0, 0, 0)),
    ],
)
def test_closed_cases(ref: str, hyp: str, expected: Counts) -> None:
    assert count_errors(align(ref.split(), hyp.split())) == expected


def test_empty_token_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        align(["a", ""], ["a"])


def test_counts_add_up() -> None:
    scores = score_texts({"1": "a b", "2": "c", "3": ""}, {"1": "a x", "2": "c", "3": "d"})
    assert scores.counts == Counts(3, 3, 2, 1, 0, 1, 2)
    assert scores.counts.error_rate == pytest.approx(100 * 2 / 3)
    assert score_texts({"1": ""}, {"1": ""}).counts.error_rate is None


def test_interval() -> None:
    assert bootstrap_interval([1] * 50, [10] * 50) == (10.0, 10.0)
    assert bootstrap_interval([0, 1], [0, 0]) is None
    generator = np.random.default_rng(0)
    errors = generator.binomial(10, 0.2, size=400)
    low, high = bootstrap_interval(errors.tolist(), [10] * 400)
    # The standard error of the mean of n independent rates, times 1.96.
    half = 1.96 * 10 * errors.std() / np.sqrt(400)
    centre = 10 * errors.mean()
    assert low == pytest.approx(centre - half, abs=0.15)
    assert high == pytest.approx(centre + half, abs=0.15)
    assert bootstrap_interval(errors.tolist(), [10] * 400) == (low, high)


def test_paired_interval() -> None:
    """What is hard for both does not count: much narrower than the intervals of each."""
    generator = np.random.default_rng(0)
    hard = generator.integers(0, 8, size=400)
    more = generator.binomial(1, 0.3, size=400)
    low, high = paired_interval((hard + more).tolist(), hard.tolist(), [10] * 400)
    half = 1.96 * 10 * more.std() / np.sqrt(400)
    assert low == pytest.approx(10 * more.mean() - half, abs=0.1)
    assert high == pytest.approx(10 * more.mean() + half, abs=0.1)
    apart = bootstrap_interval(hard.tolist(), [10] * 400)
    assert apart is not None and apart[1] - apart[0] > 3 * (high - low)
    mirrored = paired_interval(hard.tolist(), (hard + more).tolist(), [10] * 400)
    assert mirrored == pytest.approx((-high, -low))
    assert paired_interval([0.5], [0.5], [0]) is None
    with pytest.raises(ValueError, match="2 and 1 errors of 2 utterances"):
        paired_interval([1, 2], [1], [3, 3])


def test_tables() -> None:
    table = results_table({"test": Counts(8, 200, 190, 6, 4, 2, 3), "empty": Counts(1)})
    assert table.splitlines() == [
        "|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|",
        "|---|---|---|---|---|---|---|---|---|",
        "|test|8|200|95.0|3.0|2.0|1.0|6.0|37.5|",
        "|empty|1|0|-|-|-|-|-|0.0|",
    ]
    text = alignment_text({"u1": align("the cat sat".split(), "the cap sat down".split())})
    assert text.splitlines() == [
        "id: (u1)",
        "Scores: (#C #S #D #I) 2 1 0 1",
        "REF:  the cat sat ****",
        "HYP:  the cap sat down",
        "Eval:     S       I",
    ]


@pytest.fixture(scope="module")
def bpemodel(tmp_path_factory: pytest.TempPathFactory) -> str:
    import sentencepiece

    directory = tmp_path_factory.mktemp("bpe")
    (directory / "s.txt").write_text("a b c\nc b a\na c b b\n" * 30)
    sentencepiece.SentencePieceTrainer.Train(
        input=str(directory / "s.txt"), model_prefix=str(directory / "bpe"), vocab_size=8,
        model_type="bpe", minloglevel=2)  # fmt: skip
    return str(directory / "bpe.model")


def test_units_are_espnets(bpemodel: str) -> None:
    from espnet2.text.build_tokenizer import build_tokenizer

    for unit, kind in (("wer", "word"), ("cer", "char"), ("ter", "bpe")):
        theirs = build_tokenizer(token_type=kind, bpemodel=bpemodel if unit == "ter" else None)
        ours = Tokenizer(unit, bpemodel)
        for text in ("a bc c", "ABBA it's ÄÖ 一二", "a"):
            assert ours(text) == theirs.text2tokens(text)
        assert ours("") == ours("  ") == []
        assert ours(" a  bc ") == ours("a bc")
    with pytest.raises(ValueError, match="unit must be one of"):
        Tokenizer("per")
    with pytest.raises(ValueError, match="SentencePiece"):
        Tokenizer("ter")


def test_texts_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("u1 a  b\nu2\nu3 \n\nu4\ta b\n")
    assert read_text(path) == {"u1": "a  b", "u2": "", "u3": "", "u4": "a b"}
    path.write_text("u1 a\nu1 b\n")
    with pytest.raises(ScoreError, match=r"text:2: u1 is there twice"):
        read_text(path)
    path.write_bytes(b"u1 \xff\n")
    with pytest.raises(ScoreError, match="not UTF-8"):
        read_text(path)
    path.write_text("\n")
    with pytest.raises(ScoreError, match="empty"):
        read_text(path)
    with pytest.raises(ScoreError, match="not there"):
        read_text(tmp_path / "nothing")


def test_ids_must_agree() -> None:
    with pytest.raises(ScoreError, match="test: no hypothesis for b; no reference for c"):
        score_texts({"a": "x", "b": "x"}, {"a": "x", "c": "x"}, where="test")


def test_command(tmp_path: Path, bpemodel: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name, ref, hyp in (
        ("dev", "u1 a b\n", "u1 a b\n"),
        ("test", "u1 a b\nu2 c\n", "u1 b\nu2\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text").write_text(ref)
        (tmp_path / name / "hyp").write_text(hyp)
    words = ["--hyp", *(str(tmp_path / n / "hyp") for n in ("dev", "test"))]
    words += ["--ref", *(str(tmp_path / n / "text") for n in ("dev", "test"))]
    out = tmp_path / "score"
    command.main([*words, "--bpemodel", bpemodel, "--output_dir", str(out)])
    printed = capsys.readouterr().out
    assert printed == (out / "results.md").read_text()
    assert "|dev|1|2|100.0|0.0|0.0|0.0|0.0|0.0|" in printed
    assert "|test|2|3|33.3|0.0|66.7|0.0|66.7|100.0|" in printed
    values = json.loads((out / "results.json").read_text())
    assert list(values) == ["wer", "cer", "ter"]
    assert values["wer"]["test"]["errors"] == 2 and values["wer"]["dev"]["interval_95"] == [0, 0]
    assert values["cer"]["test"]["tokens"] == 4  # "a b" has a space
    assert "REF:  a   b\nHYP:  *** b\n" in (out / "test" / "score_wer" / "result.txt").read_text()


@pytest.mark.parametrize(
    "more, message",
    [
        (["--name", "a", "b"], "1 --hyp, 1 --ref and 2 --name"),
        (["--bpemodel", "x"], "--bpemodel x"),
    ],
)
def test_command_refuses(more: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("u1 a\n")
    path = str(tmp_path / "text")
    with pytest.raises(SystemExit, match=f"score: {message}"):
        command.main(["--hyp", path, "--ref", path, *more])
