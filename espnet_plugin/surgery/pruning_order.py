"""In which order blocks are taken out of a stack, by the similarity of what they give.

Source: Dorszewski et al., ICASSP 2025 (arXiv 2409.16302), pruning without post-training. Block 0
is kept in all orders but ``backward``. That ``multi_knn_influence`` takes the mean over all other
states is our reading [I].
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

import numpy as np

ORDERS = (
    "block_influence",
    "knn_influence",
    "multi_knn_influence",
    "cka",
    "forward",
    "backward",
    "forward_backward",
    "core_first",
)
SIMILARITY = {
    "block_influence": "cosine",
    "knn_influence": "mutual k-NN",
    "multi_knn_influence": "mutual k-NN",
    "cka": "linear CKA",
    "core_first": "cosine",
}
"""Which similarity an order needs; those not named need none."""


def pruning_order(
    order: str, blocks: int, similarity: Optional[Any] = None, core: Sequence[int] = ()
) -> List[int]:
    """The blocks, those to be dropped first at the beginning.

    Args:
        order: one of :data:`ORDERS`.

            * ``block_influence``, ``knn_influence``, ``cka``: most similar to its input first;
            * ``multi_knn_influence``: most similar to all other states first;
            * ``forward``: 1, 2, 3, …; ``backward``: L − 1, L − 2, …, 0;
              ``forward_backward``: 1, L − 1, 2, L − 2, …;
            * ``core_first``: those of ``core`` in their order, then by block influence.
        blocks: L.
        similarity: (L + 1, L + 1), of the states: state 0 enters block 0, state l + 1 is the
            output of block l. Which measure: :data:`SIMILARITY`.
        core: for ``core_first``.

    Returns:
        L − 1 blocks, L with ``backward``. Of equal similarity the lower block comes first.

    Raises:
        ValueError: an unknown order; a similarity that is missing or has another shape or
            values that are not finite; a ``core`` that names block 0 or a block twice.
    """
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r} (one of {', '.join(ORDERS)})")
    if blocks < 1:
        raise ValueError(f"a stack has at least 1 block, not {blocks}")
    if order == "forward":
        return list(range(1, blocks))
    if order == "backward":
        return list(range(blocks - 1, -1, -1))
    if order == "forward_backward":
        ends = [end for block in range(1, blocks) for end in (block, blocks - block)]
        return list(dict.fromkeys(ends))
    values = _checked(order, blocks, similarity)
    if order == "multi_knn_influence":
        others = (values.sum(axis=1) - values.diagonal()) / blocks
        score = {block: others[block + 1] for block in range(1, blocks)}
    else:
        score = {block: values[block, block + 1] for block in range(1, blocks)}
    ranked = sorted(score, key=lambda block: (-score[block], block))
    if order != "core_first":
        return ranked
    first = list(core)
    if len(set(first)) < len(first) or not set(first) <= set(ranked):
        raise ValueError(f"core must name blocks from 1 to {blocks - 1}, each once, not {first}")
    return first + [block for block in ranked if block not in first]


def _checked(order: str, blocks: int, similarity: Optional[Any]) -> np.ndarray:
    if similarity is None:
        raise ValueError(f"the order {order} needs the {SIMILARITY[order]} of all states")
    values = np.asarray(similarity, dtype=np.float64)
    if values.shape != (blocks + 1, blocks + 1):
        raise ValueError(
            f"similarity must be of {blocks + 1} states (the input and {blocks} blocks), "
            f"not {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError("similarity has values that are not finite")
    return values
