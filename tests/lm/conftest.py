"""A small text to train n-gram models on."""

from __future__ import annotations

import pytest
from numpy.random import default_rng


@pytest.fixture(scope="session")
def mini_corpus() -> list[list[str]]:
    """400 sentences from a grammar with some 60 words."""
    draw = default_rng(0)
    who = "THE OLD KING|MY SISTER|A YOUNG SAILOR|NOBODY|THE CAPTAIN|EVERY CHILD".split("|")
    does = "SAW|WROTE TO|FOLLOWED|HAD NEVER SEEN|SPOKE OF|WAITED FOR|REMEMBERED".split("|")
    what = "THE SEA|A LETTER|HIS BROTHER|THE WHITE HOUSE|THAT DAY|AN ISLAND|THE KING".split("|")
    when = "|YESTERDAY|IN THE MORNING|BEFORE THE WAR|AT LAST|AGAIN AND AGAIN".split("|")
    skewed = {n: 1 / (1.0 + draw.permutation(n)) for n in (6, 7)}
    parts = [(p, skewed[len(p)] / skewed[len(p)].sum()) for p in (who, does, what, when)]
    return [" ".join(draw.choice(p, p=w) for p, w in parts).split() for _ in range(400)]
