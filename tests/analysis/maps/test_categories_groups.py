"""Head categories by rank, and groups of blocks from their similarity."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_plugin.analysis.maps.categories import categorise, ranks
from espnet_plugin.analysis.maps.groups import (
    best_groups,
    equal_groups,
    grow_groups,
    mean_similarity,
)


def test_ranks_share_the_best_of_equal_values():
    assert ranks([3.0, 5.0, 3.0, 1.0]) == [1, 0, 1, 3]


def test_a_head_belongs_where_it_ranks_highest():
    measures = {
        "globalness": [5.0, 1.0, 3.0, 2.0],
        "verticality": [-5.0, -1.0, -4.0, -3.0],
        "diagonality": [-0.4, -0.3, -0.1, -0.2],
    }
    # head 3 ranks 2, 1, 1: tied between vertical and diagonal
    assert categorise(measures) == ["global", "vertical", "diagonal", "diagonal"]


def test_ties_go_to_diagonal_then_vertical():
    equal = [1.0, 1.0]
    assert categorise(dict.fromkeys(["globalness", "verticality", "diagonality"], equal)) == [
        "diagonal",
        "diagonal",
    ]
    assert categorise({"globalness": equal, "verticality": equal, "diagonality": [2.0, 1.0]}) == [
        "diagonal",
        "vertical",
    ]


def block_matrix(groups, inside=0.9, outside=0.2):
    size = sum(map(len, groups))
    of = {b: n for n, g in enumerate(groups) for b in g}
    return [
        [1.0 if a == b else inside if of[a] == of[b] else outside for b in range(size)]
        for a in range(size)
    ]


PLANTED = [[0], [1, 2, 3], [4, 5]]


def test_planted_groups_are_found():
    matrix = block_matrix(PLANTED)
    assert grow_groups(matrix, 0.8) == PLANTED
    assert best_groups(matrix, num_groups=3) == PLANTED
    assert grow_groups(matrix, 1.01) == [[b] for b in range(6)]
    assert grow_groups(matrix, 0.0) == [list(range(6))]


def test_growing_stops_at_the_mean_of_all_pairs():
    matrix = [[1, 0.9, 0.4], [0.9, 1, 0.8], [0.4, 0.8, 1]]
    mean = mean_similarity(matrix, [0, 1, 2])
    assert mean == pytest.approx(0.7)
    assert grow_groups(matrix, mean) == [[0, 1, 2]]
    assert grow_groups(matrix, 0.71) == [[0, 1], [2]]


def test_equal_groups():
    assert equal_groups(7, 3) == [[0, 1, 2], [3, 4, 5], [6]]
    with pytest.raises(ValueError):
        equal_groups(3, 0)


def partitions(blocks):
    for cuts in itertools.product([False, True], repeat=blocks - 1):
        groups = [[0]]
        for block, cut in enumerate(cuts, 1):
            if cut:
                groups.append([block])
            else:
                groups[-1].append(block)
        yield groups


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 7).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(0, 1), min_size=n, max_size=n), min_size=n, max_size=n
        )
    ),
    st.integers(1, 3),
    st.integers(0, 4),
)
def test_best_groups_are_the_best_of_all_partitions(matrix, least, number):
    size = len(matrix)
    matrix = [[matrix[min(a, b)][max(a, b)] for b in range(size)] for a in range(size)]

    def score(groups):
        return sum(len(g) * mean_similarity(matrix, g) for g in groups)

    allowed = [
        groups
        for groups in partitions(size)
        if min(map(len, groups)) >= least and number in (0, len(groups))
    ]
    if not allowed:
        with pytest.raises(ValueError, match="cannot be in"):
            best_groups(matrix, number or None, least)
        return
    got = best_groups(matrix, number or None, least)
    assert got in allowed
    assert score(got) == pytest.approx(max(map(score, allowed)), abs=1e-9)
