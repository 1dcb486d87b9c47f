from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_plugin.data.alignments import (
    align_words,
    lhotse_alignment,
    load_alignment,
    phone_intervals,
)
from espnet_plugin.data.textgrid import Interval, read_textgrid

words = st.lists(
    st.text("ABCDEFG'", min_size=1, max_size=6).filter(lambda w: w.strip("'")), max_size=8
)


def tier(*texts):
    return [Interval(float(i), float(i + 1), text) for i, text in enumerate(texts)]


def test_words_take_the_transcripts_form():
    aligned = align_words(tier("", "hello", "", "world"), "HELLO WORLD")
    assert aligned == [Interval(1.0, 2.0, "HELLO"), Interval(3.0, 4.0, "WORLD")]


def test_split_words_are_joined_and_unknown_ones_named():
    aligned = align_words(tier("to", "cosette", "s", "<unk>", ""), "TO COSETTE'S WEDDING")
    assert aligned == [
        Interval(0.0, 1.0, "TO"),
        Interval(1.0, 3.0, "COSETTE'S"),
        Interval(3.0, 4.0, "WEDDING"),
    ]


@pytest.mark.parametrize(
    "texts, transcript, message",
    [
        (("a", "b"), "A C", "has 'b' where the transcript has 'C'"),
        (("a",), "A B", "has nothing where the transcript has 'B'|'nothing'"),
        (("a", "b"), "A", "'b' after the transcript's end"),
        (("cos", "x"), "COSETTE", "has 'cos' where"),
    ],
)
def test_other_words_are_refused(texts, transcript, message):
    with pytest.raises(ValueError, match=message):
        align_words(tier(*texts), transcript)


@given(words)
def test_any_transcript_aligns_with_itself(transcript):
    intervals = tier(*(word.lower() for word in transcript))
    aligned = align_words(intervals, " ".join(transcript))
    assert [interval.text for interval in aligned] == transcript
    assert [interval.start for interval in aligned] == [i.start for i in intervals]


def test_phones_keep_stress_and_silences_are_one_label():
    labels = [interval.text for interval in phone_intervals(tier("sil", "AH0", "sp", "", "spn"))]
    assert labels == ["SIL", "AH0", "SIL", "SIL", "SPN"]
    with pytest.raises(ValueError, match="'XX'"):
        phone_intervals(tier("XX"))


def test_missing_tier_is_named():
    with pytest.raises(ValueError, match="no tier 'phones'"):
        lhotse_alignment({"words": []}, "")


def test_all_real_alignments_fit_their_transcripts(data_root, librispeech_root):
    alignments = data_root / "alignments"
    transcripts = sorted((librispeech_root / "train-clean-100").rglob("*.trans.txt"))
    if not alignments.is_dir() or not transcripts:
        pytest.skip(f"no alignments in {data_root}")
    utterances = unknown = joined = 0
    for path in transcripts:
        for line in path.read_text(encoding="utf-8").splitlines():
            name, text = line.split(" ", 1)
            alignment = load_alignment(alignments, "train-clean-100", name, text)
            assert [item.symbol for item in alignment["word"]] == text.split()
            phones = alignment["phone"]
            assert phones[0].start == 0.0
            assert all(
                abs(a.end - b.start) < 1e-6 for a, b in zip(phones, phones[1:], strict=False)
            )
            utterances += 1
            unknown += any(item.symbol == "SPN" for item in phones)
            grid = alignments / "train-clean-100" / name.replace("-", "/", 2).rsplit("/", 1)[0]
            tier_words = [i for i in read_textgrid(grid / f"{name}.TextGrid")["words"] if i.text]
            joined += len(tier_words) > len(text.split())
    assert (utterances, unknown, joined) == (496, 30, 4)
