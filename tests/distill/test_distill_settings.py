"""Learning rates over a run."""

from __future__ import annotations

import pytest

from espnet_plugin.distill.settings import Settings


def test_cosine_over_updates():
    settings = Settings(max_updates=100, learning_rate=2.0, warmup=0.1)
    assert [settings.rate(n, 0.0) for n in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert settings.rate(10, 0.0) == 2.0
    assert settings.rate(55, 0.0) == pytest.approx(1.0)
    assert 0 < settings.rate(99, 0.0) < 0.01


def test_linear_without_warmup():
    settings = Settings(max_updates=4, learning_rate=1.0, warmup=0.0, decay="linear")
    assert [settings.rate(n, 0.0) for n in range(4)] == [1.0, 0.75, 0.5, 0.25]


def test_what_ends_first_counts():
    settings = Settings(max_updates=100, max_seconds=10.0, learning_rate=1.0, decay="linear")
    assert settings.share(20, 5.0) == 0.5 and settings.share(70, 5.0) == 0.7
    assert settings.share(3, 11.0) == 1.0
    assert settings.rate(20, 5.5) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "options, named",
    [
        ({"max_updates": None}, "max_updates or max_seconds"),
        ({"max_updates": -1}, "max_updates"),
        ({"max_seconds": 0.0}, "max_seconds"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"warmup": 1.0}, "warmup"),
        ({"decay": "noam"}, "decay"),
        ({"interval": 0}, "interval"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"grad_clip": 0.0}, "grad_clip"),
    ],
)
def test_senseless_settings_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        Settings(**options)
