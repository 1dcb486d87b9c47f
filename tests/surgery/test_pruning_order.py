"""Pruning orders of planted similarities."""

from __future__ import annotations

import numpy as np
import pytest

from espnet_plugin.surgery.pruning_order import ORDERS, SIMILARITY, pruning_order


def planted(neighbours: list[float]) -> np.ndarray:
    """States whose similarity to the one before is given, and otherwise 0.1."""
    size = len(neighbours) + 1
    values = np.full((size, size), 0.1)
    for i, value in enumerate(neighbours):
        values[i, i + 1] = values[i + 1, i] = value
    np.fill_diagonal(values, 1.0)
    return values


def test_orders_that_need_no_similarity() -> None:
    assert pruning_order("forward", 5) == [1, 2, 3, 4]
    assert pruning_order("backward", 5) == [4, 3, 2, 1, 0]
    assert pruning_order("forward_backward", 5) == [1, 4, 2, 3]
    assert pruning_order("forward_backward", 6) == [1, 5, 2, 4, 3]
    assert [pruning_order(order, 1) for order in ("forward", "forward_backward")] == [[], []]


@pytest.mark.parametrize("order", ["block_influence", "knn_influence", "cka"])
def test_most_similar_to_its_input_first(order: str) -> None:
    # block 0's is the highest, and it is kept; blocks 2 and 4 are alike
    similarity = planted([0.99, 0.5, 0.9, 0.2, 0.9])
    assert pruning_order(order, 5, similarity) == [2, 4, 1, 3]


def test_most_similar_to_all_others_first() -> None:
    similarity = planted([0.2, 0.2, 0.2, 0.2])
    similarity[3, :] = similarity[:, 3] = 0.9  # the output of block 2
    assert pruning_order("multi_knn_influence", 4, similarity)[0] == 2


def test_core_first() -> None:
    similarity = planted([0.9, 0.5, 0.6, 0.7, 0.8])
    assert pruning_order("core_first", 5, similarity, core=[2, 1]) == [2, 1, 4, 3]
    for core in ([0], [1, 1], [5]):
        with pytest.raises(ValueError, match="blocks from 1 to 4, each once"):
            pruning_order("core_first", 5, similarity, core=core)


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_holds_every_block_once(order: str) -> None:
    values = np.random.default_rng(0).random((9, 9))
    found = pruning_order(order, 8, values)
    assert sorted(found) == list(range(0 if order == "backward" else 1, 8))


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match="unknown order 'random'"):
        pruning_order("random", 4)
    for order in SIMILARITY:
        with pytest.raises(ValueError, match=f"{order} needs the {SIMILARITY[order]}"):
            pruning_order(order, 4)
    with pytest.raises(ValueError, match="5 states .* not"):
        pruning_order("cka", 4, np.eye(4))
    with pytest.raises(ValueError, match="not finite"):
        pruning_order("cka", 1, np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="at least 1 block"):
        pruning_order("forward", 0)
