"""Times from spikes."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_plugin.decode.align.timing import Timing, frame_seconds
from espnet_plugin.stacks.experiment import load_experiment


def test_a_short_gap_is_split_and_a_long_one_leaves_a_pause() -> None:
    timing = Timing(split=0.25, reach=0.1, shift=0.0)
    times = timing.boundaries([(1, 1), (4, 5), (20, 20)], 0.04, 2.0)
    # Spikes: 0.04-0.08, 0.16-0.24, 0.80-0.84.
    assert times[0] == pytest.approx((0.0, 0.08 + 0.25 * 0.08))
    assert times[1] == pytest.approx((0.10, 0.34))
    assert times[2] == pytest.approx((0.70, 0.94))


def test_shift_moves_all_times_within_the_utterance() -> None:
    times = Timing(split=0.5, reach=0.0, shift=0.05).boundaries([(0, 0), (1, 1)], 0.04, 0.1)
    assert times == [pytest.approx((0.05, 0.09)), pytest.approx((0.09, 0.1))]
    assert Timing().boundaries([], 0.04, 1.0) == []


@pytest.mark.parametrize("values", [{"split": 1.5}, {"split": -0.1}, {"reach": -1.0}])
def test_impossible_rules_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Timing(**values)


def test_frame_seconds_are_hop_times_subsampling(tiny_experiment: Path) -> None:
    model = load_experiment(tiny_experiment).model
    assert frame_seconds(model, 16000) == 4 * 160 / 16000
