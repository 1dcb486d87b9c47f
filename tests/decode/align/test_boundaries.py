"""Boundary errors, and the rule that makes them least."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from espnet_plugin.decode.align.aligner import Aligned
from espnet_plugin.decode.align.boundaries import (
    differences,
    intervals,
    match,
    read_reference,
    summary,
    table,
)
from espnet_plugin.decode.align.calibrate import calibrate
from espnet_plugin.decode.align.corpus import timed
from espnet_plugin.decode.align.source import Spoken
from espnet_plugin.decode.align.timing import Timing
from espnet_plugin.stacks.batches import Utterance


def test_only_equal_symbols_are_compared() -> None:
    found = [("A", 0.0, 1.0), ("X", 1.0, 2.0), ("B", 2.0, 3.0)]
    true = [("A", 0.1, 1.1), ("Y", 1.1, 2.0), ("B", 2.0, 2.5)]
    assert match(found, true) == [(found[0], true[0]), (found[2], true[2])]
    late = differences({"u": found}, {"u": true})
    np.testing.assert_allclose(late, [(-0.1, -0.1), (0.0, 0.5)])


def test_summary_and_table() -> None:
    result = summary(np.array([(0.01, -0.02), (-0.03, 0.2)]), 3)
    assert (result["matched"], result["units"]) == (2, 3)
    assert result["start"]["mean"] == pytest.approx(0.02)
    assert result["start"]["bias"] == pytest.approx(-0.01)
    assert result["both"]["within_20ms"] == 0.5
    assert result["both"]["within_50ms"] == 0.75
    assert result["both"]["median"] == pytest.approx(0.025)
    assert result["both"]["p90"] == pytest.approx(np.percentile([0.01, 0.02, 0.03, 0.2], 90))
    assert "| word | both | 2/3 | 65.0 | 25.0 |" in table({"word": result})
    assert summary(np.zeros((0, 2)), 3) == {"matched": 0, "units": 3}


def utterances(count: int) -> tuple[dict[str, Aligned], list[Spoken]]:
    """Alignments of random spikes."""
    generator = np.random.default_rng(0)
    aligned, spoken = {}, []
    for i in range(count):
        begins = np.cumsum(generator.integers(2, 9, 8))
        spans = [(int(b), int(b)) for b in begins]
        words = [f"W{k}" for k in range(8)]
        aligned[f"u{i}"] = Aligned(spans, words, [1.0] * 8, list(range(8)), words)
        utterance = Utterance(f"u{i}", Path("none.wav"), 16000 * 5, 16000)
        spoken.append(Spoken(utterance, " ".join(words), None, lambda: np.zeros(1)))
    return aligned, spoken


@pytest.mark.parametrize("level", ["word", "token"])
def test_calibration_finds_the_planted_rule(level: str) -> None:
    aligned, spoken = utterances(10)
    planted = Timing(0.25, 0.1, 0.0215)
    true = intervals(timed(aligned, spoken, planted, 0.04, "token"), level)
    assert calibrate(aligned, spoken, 0.04, level, true) == planted


def test_calibration_needs_units_in_common() -> None:
    aligned, spoken = utterances(1)
    with pytest.raises(ValueError, match="no word of the reference"):
        calibrate(aligned, spoken, 0.04, "word", {"u0": [("OTHER", 0.0, 1.0)]})


def test_a_reference_is_read_without_silences(tmp_path: Path) -> None:
    from lhotse import SupervisionSegment, SupervisionSet
    from lhotse.supervision import AlignmentItem

    items = [AlignmentItem("SIL", 2.0, 0.5), AlignmentItem("AH0", 2.5, 0.25)]
    segment = SupervisionSegment("u", "r", 2.0, 1.0, text="A", alignment={"phone": items})
    file = tmp_path / "s.jsonl.gz"
    SupervisionSet.from_segments([segment]).to_file(file)
    assert read_reference(file) == {"phone": {"u": [("AH0", 0.5, 0.75)]}}
    SupervisionSet.from_segments([SupervisionSegment("u", "r", 0.0, 1.0)]).to_file(file)
    with pytest.raises(ValueError, match=r"s\.jsonl\.gz: no alignment"):
        read_reference(file)
    with pytest.raises(ValueError, match="no manifest"):
        read_reference(tmp_path / "absent.jsonl.gz")
