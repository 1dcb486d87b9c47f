"""Block structure: all segmentations tried, planted blocks found, and none where there is none."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis.similarity import linear_cka
from espnet_plugin.analysis.states.structure import (
    best_segmentation,
    block_structure,
    first_similarity_block,
    structureless,
)


def symmetric(seed: int, states: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(states, states))
    return (values + values.T) / 2


def scatter(values: np.ndarray, start: int, end: int) -> float:
    part = values[start:end, start:end]
    return float(np.trace(part) - part.sum() / len(part))


def walk(seed: int, states: int, jumps=(), step: float = 0.25, jump: float = 1.2) -> np.ndarray:
    """CKA of the states of a random walk in many dimensions; at ``jumps`` it makes larger steps."""
    generator = np.random.default_rng(seed)
    found = [generator.normal(size=(120, 30))]
    for state in range(1, states):
        size = jump if state in jumps else step
        found.append(found[-1] + size * generator.normal(size=(120, 30)))
    return np.array([[linear_cka(x, y) for y in found] for x in found])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.integers(1, 9), st.integers(1, 4))
def test_the_best_of_all_segmentations(seed: int, states: int, parts: int) -> None:
    parts = min(parts, states)
    values = symmetric(seed, states)
    least = min(
        sum(scatter(values, a, b) for a, b in zip((0, *cut), (*cut, states), strict=True))
        for cut in combinations(range(1, states), parts - 1)
    )
    starts, score = best_segmentation(values, parts)
    assert starts[0] == 0 and len(starts) == parts and sorted(set(starts)) == list(starts)
    ends = (*starts[1:], states)
    ours = sum(scatter(values, a, b) for a, b in zip(starts, ends, strict=True))
    assert ours == pytest.approx(least, abs=1e-9)
    if states > 1:
        assert score == pytest.approx(1 - least / scatter(values, 0, states), abs=1e-9)


def test_scores_of_perfect_blocks_and_of_one_part() -> None:
    values = np.kron(np.eye(3), np.ones((3, 3)))
    assert best_segmentation(values, 3) == ((0, 3, 6), pytest.approx(1.0, abs=1e-12))
    assert best_segmentation(values, 1) == ((0,), 0.0)
    assert best_segmentation(np.ones((4, 4)), 2)[1] == 0.0  # nothing to explain


@pytest.mark.parametrize(
    "states, jumps", [(13, (6,)), (13, (3,)), (13, (4, 9)), (7, (4,)), (25, (9, 17))]
)
def test_planted_blocks_are_found(states: int, jumps) -> None:
    for seed in range(3):
        found = block_structure(walk(seed, states, jumps), draws=300)
        assert found.starts == (0, *jumps) and found.parts == len(jumps) + 1
        chosen = found.candidates[found.parts - 2]
        assert chosen.score > chosen.null_high and found.p_value <= 0.01


@pytest.mark.parametrize("states, step", [(13, 0.3), (13, 0.8), (7, 0.4)])
def test_a_steady_walk_has_no_blocks(states: int, step: float) -> None:
    """Its norm grows, so late states resemble each other more than early ones: drift, no blocks."""
    found = [block_structure(walk(seed, states, step=step), draws=300) for seed in range(8)]
    assert [one.parts for one in found] == [1] * 8
    assert found[0].starts == (0,) and found[0].candidates[0].score > 0.2  # it has a best one


def test_matrices_that_depend_on_distance_alone_are_seldom_said_to_have_blocks() -> None:
    apart = np.abs(np.subtract.outer(np.arange(13), np.arange(13)))
    said = 0
    for seed in range(60):
        values = np.exp(-apart / 6) + 0.05 * symmetric(seed, 13)
        said += block_structure(values, draws=200, seed=seed).parts > 1
    assert said <= 3  # 0.6 expected of 60; more than 3 has a probability of 0.3 %


def test_without_blocks_decay_and_drift_remain() -> None:
    values = walk(0, 9, (4,))
    null = structureless(values, 200, seed=1)
    assert np.array_equal(null, null.transpose(0, 2, 1))
    for apart in range(9):
        mean = null.diagonal(apart, 1, 2).mean(axis=1)
        assert np.allclose(mean, values.diagonal(apart).mean(), atol=1e-12)
    line = np.add.outer(np.arange(6.0), np.arange(6.0))
    near = np.abs(np.subtract.outer(np.arange(6), np.arange(6))) < 3  # four entries or more
    assert np.allclose(structureless(line, 3)[:, near], line[near])
    assert block_structure(values, draws=50) == block_structure(values, draws=50)


def test_the_first_block() -> None:
    values = walk(0, 8, (5,))
    assert first_similarity_block(values) == 4
    assert first_similarity_block(values[5:, 5:]) in (0, 1)
    assert first_similarity_block(values[:1, :1]) == first_similarity_block(values[:2, :2]) == 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: block_structure(np.eye(5)), "5 states are too few"),
        (lambda: best_segmentation(np.eye(4)[:3], 2), r"square, not \(3, 4\)"),
        (lambda: best_segmentation(np.eye(4), 5), "4 states have no 5 parts"),
        (lambda: block_structure(np.full((8, 8), np.nan)), "not finite"),
    ],
)
def test_what_has_no_structure_is_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
