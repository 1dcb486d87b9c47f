from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_plugin.data.textgrid import (
    Interval,
    format_textgrid,
    parse_textgrid,
    read_textgrid,
    write_textgrid,
)

labels = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12)


@st.composite
def tiers(draw):
    names = draw(st.lists(labels, unique=True, max_size=3))
    made = {}
    for name in names:
        samples = sorted(draw(st.sets(st.integers(1, 16000 * 40), min_size=1, max_size=6)))
        bounds = [0.0] + [sample / 16000 for sample in samples]
        texts = [draw(labels) for _ in samples]
        made[name] = [Interval(a, b, t) for a, b, t in zip(bounds, bounds[1:], texts, strict=False)]
    return made


@given(tiers())
def test_round_trip_is_exact(made):
    assert parse_textgrid(format_textgrid(made, 40.0)) == made


def test_text_that_looks_like_the_format_is_text():
    odd = [Interval(0.0, 0.5, 'xmin = 3 text = "name = "'), Interval(0.5, 1.0, 'class = "x"')]
    assert parse_textgrid(format_textgrid({"words": odd}, 1.0)) == {"words": odd}


def test_file_round_trip(tmp_path):
    made = {"words": [Interval(0.0, 1.25, "état")]}
    write_textgrid(tmp_path / "a.TextGrid", made, 1.25)
    assert read_textgrid(tmp_path / "a.TextGrid") == made
    assert [path.name for path in tmp_path.iterdir()] == ["a.TextGrid"]


def test_point_tiers_are_passed_over():
    text = format_textgrid({"words": [Interval(0.0, 1.0, "a")]}, 1.0)
    points = (
        '\titem [2]:\n\t\tclass = "TextTier"\n\t\tname = "clicks"\n\t\txmin = 0\n\t\txmax = 1\n'
        '\t\tpoints: size = 1\n\t\t\tpoints [1]:\n\t\t\t\tnumber = 0.5\n\t\t\t\tmark = "x"\n'
    )
    assert set(parse_textgrid(text + points)) == {"words"}


def test_what_is_no_textgrid_is_refused():
    with pytest.raises(ValueError, match="not a TextGrid"):
        parse_textgrid("hello")


def test_interval_without_times_is_refused():
    text = format_textgrid({"w": [Interval(0.0, 0.5, "a"), Interval(0.5, 1.0, "b")]}, 1.0)
    broken = text.replace("\t\t\t\txmin = 0.5\n", "")
    assert broken != text
    with pytest.raises(ValueError, match='before text = "b"'):
        parse_textgrid(broken)


def test_real_textgrid(data_root):
    path = data_root / "alignments/train-clean-100/4088/158079/4088-158079-0014.TextGrid"
    if not path.is_file():
        pytest.skip(f"no {path}")
    read = read_textgrid(path)
    assert set(read) == {"words", "phones"}
    assert len(read["words"]) == 35
    assert len(read["phones"]) == 160
    assert read["words"][1] == Interval(0.24, 0.67, "asking")
    assert read["phones"][147] == Interval(11.59, 11.64, "M")
    for intervals in read.values():
        assert intervals[0].start == 0.0 and intervals[-1].end == 12.44
        assert all(a.end == b.start for a, b in zip(intervals, intervals[1:], strict=False))
