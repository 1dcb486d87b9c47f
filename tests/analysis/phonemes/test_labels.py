"""Phone labels of frames, exact to the sample."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_plugin.analysis.phonemes.frames import FrameClock
from espnet_plugin.analysis.phonemes.labels import FOLDED, NOTHING, STRESSED, Aligned, PhoneLabels
from espnet_plugin.data.textgrid import Interval, write_textgrid

PHONES = [
    Interval(0.0, 0.1, "sil"),
    Interval(0.1, 0.3, "HH"),
    Interval(0.3, 0.35, "AY1"),
    Interval(0.35, 0.5, "spn"),
    Interval(0.5, 0.6, "sp"),
    Interval(0.6, 0.7, ""),
]
WORDS = [Interval(0.0, 0.1, ""), Interval(0.1, 0.35, "hi"), Interval(0.35, 0.7, "")]


def _labels(phones: list[Interval], **more: Any) -> PhoneLabels:
    return PhoneLabels({"u": lambda: Aligned(phones, [])}, **more)


def _supervision(name: str, start: float, phones: list[Interval] | None) -> Any:
    from lhotse import SupervisionSegment
    from lhotse.supervision import AlignmentItem

    alignment = phones and {
        "phone": [
            AlignmentItem(p.text, round(start + p.start, 8), round(p.end - p.start, 8))
            for p in phones
        ],
        "word": [AlignmentItem("hi", round(start + 0.1, 8), 0.25)],
    }
    return SupervisionSegment(name, name, start, 0.7, text="HI", alignment=alignment)


def test_the_label_sets() -> None:
    assert len(FOLDED) == 40
    assert FOLDED[-1] == "SIL"
    assert len(STRESSED) == 15 * 3 + 24 + 1
    assert {symbol.rstrip("012") for symbol in STRESSED} == set(FOLDED)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_each_sample_has_the_phone_that_covers_it(rate: int) -> None:
    """Against a search of each sample among exact fractions."""
    labels = _labels([Interval(p.start, p.end, p.text.upper() or "SIL") for p in PHONES])
    found = labels.frames("u", FrameClock(1, 0), rate, rate).tolist()
    decimal = [(Fraction(str(p.start)), Fraction(str(p.end)), p.text) for p in PHONES]
    classes = {"sil": "SIL", "sp": "SIL", "": "SIL", "HH": "HH", "AY1": "AY"}
    for n, label in enumerate(found):
        inside = [text for start, end, text in decimal if start <= Fraction(n, rate) < end]
        wanted = FOLDED.index(classes[inside[0]]) if inside and inside[0] != "spn" else NOTHING
        assert label == wanted, n


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=30),
    st.integers(0, 500),
    st.integers(1, 700),
    st.integers(-50, 900),
    st.sampled_from([8000, 11025, 16000, 22050, 44100]),
)
def test_boundaries_at_any_sample_come_out_at_that_sample(
    lengths: list[int], begin: int, shift: int, centre: int, rate: int
) -> None:
    """Times are samples / rate, written with eight decimals as lhotse does."""
    edges = np.cumsum([begin, *lengths])
    phones = [
        Interval(round(a / rate, 8), round(b / rate, 8), FOLDED[i % 39])
        for i, (a, b) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    ]
    clock = FrameClock(shift, centre)
    found = _labels(phones).frames("u", clock, 40, rate).tolist()
    for t, label in enumerate(found):
        sample = t * shift + centre
        place = [i for i in range(len(lengths)) if edges[i] <= sample < edges[i + 1]]
        assert label == (place[0] % 39 if place else NOTHING)
    assert _labels(phones).boundaries("u", rate).tolist() == edges[1:-1].tolist()


def test_a_boundary_between_samples_belongs_to_the_next_sample() -> None:
    labels = _labels([Interval(0.0, 0.00010, "B"), Interval(0.00010, 1.0, "D")])
    assert ceil(Fraction("0.0001") * 16000) == 2
    found = labels.frames("u", FrameClock(1, 0), 3, 16000).tolist()
    assert found == [FOLDED.index("B")] * 2 + [FOLDED.index("D")]


def test_textgrids_and_manifests_say_the_same(tmp_path: Path) -> None:
    from lhotse import SupervisionSet

    folder = tmp_path / "grids" / "speaker"
    folder.mkdir(parents=True)
    write_textgrid(folder / "u.TextGrid", {"words": WORDS, "phones": PHONES}, 0.7)
    upper = [p._replace(text=p.text.upper() or "SIL") for p in PHONES]
    manifest = tmp_path / "supervisions.jsonl.gz"
    segments = [_supervision("u", 3.3, upper), _supervision("none", 0.0, None)]
    SupervisionSet.from_segments(segments).to_file(manifest)
    grids, table = PhoneLabels.read(tmp_path / "grids"), PhoneLabels.read(manifest)
    clock = FrameClock(160, 80)
    expected = grids.frames("u", clock, 70, 16000)
    assert (table.frames("u", clock, 70, 16000) == expected).all()
    assert expected[:12].tolist() == [39] * 10 + [FOLDED.index("HH")] * 2
    assert grids.phones("u") == table.phones("u")
    assert [p.text for p in grids.phones("u")] == ["SIL", "HH", "AY1", "SPN", "SIL", "SIL"]
    assert grids.words("u") == table.words("u") == [Interval(0.1, 0.35, "hi")]
    assert (grids.without, table.without) == (frozenset(), frozenset({"none"}))
    assert "u" in grids
    assert "none" not in table


def test_cuts_of_a_longer_recording(tmp_path: Path) -> None:
    from lhotse import CutSet, MonoCut
    from lhotse.testing.dummies import dummy_recording

    supervision = replace(_supervision("u", 0.25, [PHONES[1]]), recording_id="r")
    recording = replace(dummy_recording(0), id="r", duration=2.0, num_samples=32000)
    cut = MonoCut("cut", 0.5, 1.0, 0, [supervision], recording=recording)
    path = tmp_path / "cuts.jsonl"
    CutSet.from_cuts([cut]).to_file(path)
    labels = PhoneLabels.from_cuts(path)
    assert labels.phones("u") == [Interval(0.1, 0.3, "HH")]
    assert labels.phones("cut") == [Interval(0.35, 0.55, "HH")]
    CutSet.from_cuts([cut.with_id("u")]).to_file(path)
    assert PhoneLabels.from_cuts(path).phones("u") == [Interval(0.35, 0.55, "HH")]


def test_silences_side_by_side_have_no_boundary() -> None:
    labels = _labels([p._replace(text=p.text.upper() or "SIL") for p in PHONES])
    assert labels.boundaries("u", 1000).tolist() == [100, 300, 350, 500]


def test_stress_is_kept_where_wanted() -> None:
    labels = _labels(PHONES[1:3], symbols=STRESSED)
    found = labels.frames("u", FrameClock(1600, 0), 4, 16000).tolist()
    assert [STRESSED[n] if n >= 0 else None for n in found] == [None, "HH", "HH", "AY1"]
    with pytest.raises(ValueError, match="AY has no stress; label with the 39"):
        _labels([Interval(0, 1, "AY")], symbols=STRESSED).samples("u", 16000)


def test_errors_name_the_utterance(tmp_path: Path) -> None:
    from lhotse import Recording, RecordingSet, SupervisionSet

    with pytest.raises(ValueError, match="^v: no phone alignment in the alignments; align it"):
        _labels(PHONES).phones("v")
    with pytest.raises(ValueError, match="^u: not an ARPAbet phone: 'QQ' .the alignments"):
        _labels([Interval(0, 1, "QQ")]).samples("u", 16000)
    with pytest.raises(ValueError, match="^u: HH at 0.1 s begins before"):
        _labels([Interval(0, 0.2, "B"), PHONES[1]]).samples("u", 16000)
    with pytest.raises(ValueError, match="no TextGrid in it"):
        PhoneLabels.read(tmp_path)
    write_textgrid(tmp_path / "u.TextGrid", {"words": WORDS}, 0.7)
    with pytest.raises(ValueError, match=r"^u: .*no tier 'phones' .its tiers: 'words'"):
        PhoneLabels.read(tmp_path).phones("u")
    (tmp_path / "more").mkdir()
    write_textgrid(tmp_path / "more" / "u.TextGrid", {"words": WORDS}, 0.7)
    with pytest.raises(ValueError, match="^u: two TextGrids"):
        PhoneLabels.read(tmp_path)
    with pytest.raises(ValueError, match="no manifest"):
        PhoneLabels.read(tmp_path / "absent.jsonl.gz")
    path = tmp_path / "recordings.jsonl"
    recording = Recording("u", [], 16000, 16000, 1.0)
    RecordingSet.from_recordings([recording]).to_file(path)
    with pytest.raises(ValueError, match="holds a RecordingSet; name cuts with alignments"):
        PhoneLabels.read(path)
    path = tmp_path / "s.jsonl"
    SupervisionSet.from_segments([_supervision("u", 0.0, None)]).to_file(path)
    with pytest.raises(ValueError, match="no alignment of level 'phone' .there are: none"):
        PhoneLabels.read(path)


def test_real_textgrids_label_every_frame(data_root: Path) -> None:
    directory = data_root / "alignments" / "train-clean-100"
    if not directory.is_dir():
        pytest.skip(f"no TextGrids in {directory}")
    labels = PhoneLabels.read(directory)
    name = "4088-158077-0015"
    phones = labels.phones(name)
    frames = round(phones[-1].end * 50)
    found = labels.frames(name, FrameClock(320, 200, 400), frames, 16000)
    assert int((found == NOTHING).sum()) <= 1
    assert len(found.unique()) > 30
    assert len(labels.boundaries(name, 16000)) >= len(phones) - 5
