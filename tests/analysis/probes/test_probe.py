"""Probes: the optimum they claim, planted truths, splits that nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis.probes.probe import (
    STRENGTH,
    chance_of,
    drawn_frames,
    fit_probe,
    parts_of,
)


def clusters(seed: int, count: int, classes: int, width: int, apart: float = 4.0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(classes, width)) * apart
    labels = generator.integers(classes, size=count) * 3 + 1  # not 0, 1, 2, …
    features = centres[(labels - 1) // 3] + generator.normal(size=(count, width))
    return features * generator.uniform(0.1, 50, width) + 7, labels


def test_a_probe_is_the_optimum_of_its_objective() -> None:
    x, y = clusters(0, 400, 4, 6, apart=0.7)
    probe = fit_probe(x, y)
    z = (x - x.mean(0)) / x.std(0)
    weight = probe.weight * x.std(0)
    bias = probe.bias + probe.weight @ x.mean(0)
    scores = z @ weight.T + bias
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p -= y[:, None] == probe.classes
    assert probe.converged
    assert np.abs(p.T @ z / len(z) + STRENGTH * weight).max() < 1e-3
    assert np.abs(p.mean(0)).max() < 1e-3


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.integers(2, 5), st.integers(2, 8))
def test_what_is_linearly_there_is_read(seed: int, classes: int, width: int) -> None:
    x, y = clusters(seed, 200, classes, width, apart=12.0)
    probe = fit_probe(x[:150], y[:150])
    right = (probe.predict(x[150:]) == y[150:]).mean()
    centres = np.stack([x[y == c].mean(0) for c in np.unique(y)])
    spread = x[:150].std(0)
    distances = [np.linalg.norm((x[150:] - c) / spread, axis=1) for c in centres]
    nearest = np.unique(y)[np.argmin(distances, axis=0)]
    assert right >= (nearest == y[150:]).mean() - 0.1
    scores = probe.head()(torch.from_numpy(x).float()).argmax(1).numpy()
    assert (probe.classes[scores] == probe.predict(x)).mean() > 0.99
    again = fit_probe(x[:150], y[:150])
    assert np.array_equal(probe.weight, again.weight)


def test_noise_is_read_by_chance() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2000, 5)), generator.integers(4, size=2000)
    right = (fit_probe(x[:1000], y[:1000]).predict(x[1000:]) == y[1000:]).mean()
    assert abs(right - 0.25) < 0.05
    assert abs(chance_of(y[:1000], y[1000:]) - 0.25) < 0.05
    assert chance_of(np.array([2, 2, 1]), np.array([2, 1, 1, 1])) == 0.25


def test_one_class_and_features_that_say_nothing() -> None:
    x = np.ones((6, 3))
    assert fit_probe(x, np.full(6, 5)).predict(x[:2]).tolist() == [5, 5]
    x[:, 0] = [0, 0, 0, 1, 1, 1]
    probe = fit_probe(x, np.array([1, 1, 1, 2, 2, 2]))
    assert probe.predict(x).tolist() == [1, 1, 1, 2, 2, 2]
    assert np.all(probe.weight[:, 1:] == 0)
    for features, labels in (
        (x, np.zeros(5)),
        (x[:0], np.zeros(0)),
        (np.full((6, 3), np.inf), np.zeros(6)),
    ):
        with np.errstate(all="ignore"), pytest.raises(ValueError, match="do not fit|not finite"):
            fit_probe(features, labels)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(1, 60), st.integers(1, 4), st.randoms(use_true_random=False))
def test_parts_are_even_and_depend_on_names_alone(parts, count, labels, random) -> None:
    names = [f"u{number}" for number in range(count)]
    strata = {name: str(number % labels) for number, name in enumerate(names)}
    found = parts_of(names, parts, strata)
    random.shuffle(names)
    assert parts_of(names, parts, strata) == found
    sizes = np.bincount(list(found.values()), minlength=parts)
    assert sizes.max() - sizes.min() <= 1
    for label in set(strata.values()):
        inside = [found[name] for name in names if strata[name] == label]
        assert np.ptp(np.bincount(inside, minlength=parts)) <= 1
    if count >= parts:
        speakers = {name: f"s{int(name[1:]) % max(parts, 7)}" for name in names}
        if len(set(speakers.values())) >= parts:
            whole = parts_of(names, parts, together=speakers)
            of = {speaker: {whole[n] for n in names if speakers[n] == speaker}
                  for speaker in set(speakers.values())}  # fmt: skip
            assert all(len(one) == 1 for one in of.values())
            assert set(whole.values()) == set(range(parts))
    with pytest.raises(ValueError, match="1 groups cannot be cut"):
        parts_of(["a", "b"], 2, together={"a": "s", "b": "s"})


def test_frames_are_drawn_by_name() -> None:
    drawn = [drawn_frames(f"u{n}", 1000, 0.3) for n in range(30)]
    assert abs(np.mean([len(one) for one in drawn]) - 300) < 15
    assert not np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[0], drawn_frames("u0", 1000, 0.3))
    assert drawn[0].max() < 1000 and (np.diff(drawn[0]) > 0).all()
    longer = drawn_frames("u0", 1500, 0.3)
    assert np.array_equal(longer[longer < 1000], drawn[0])
    assert drawn_frames("u0", 5, 1.0).tolist() == [0, 1, 2, 3, 4]
