"""Contiguous groups of blocks that may share one attention map, from their similarity."""

from __future__ import annotations

from typing import List, Optional, Sequence

Matrix = Sequence[Sequence[float]]


def mean_similarity(similarity: Matrix, group: Sequence[int]) -> float:
    """Mean over the pairs of different blocks of a group; 1 for a block alone."""
    pairs = [similarity[a][b] for n, a in enumerate(group) for b in group[:n]]
    return sum(pairs) / len(pairs) if pairs else 1.0


def grow_groups(similarity: Matrix, theta: float) -> List[List[int]]:
    """Grow each group while the mean pairwise similarity of its blocks stays at least θ.

    Source: Xiao et al. 2019, arXiv 1906.11024.

    Args:
        similarity: (L, L), of the blocks' maps.
        theta: 0 to 1; above 1 every block is alone.

    Returns:
        groups of block numbers, contiguous, in order.
    """
    groups: List[List[int]] = []
    for block in range(len(similarity)):
        if groups and mean_similarity(similarity, [*groups[-1], block]) >= theta:
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


def equal_groups(blocks: int, size: int) -> List[List[int]]:
    """Groups of ``size`` blocks in order; the last may be smaller."""
    if size < 1:
        raise ValueError(f"a group needs at least one block, not {size}")
    return [list(range(a, min(a + size, blocks))) for a in range(0, blocks, size)]


def best_groups(
    similarity: Matrix, num_groups: Optional[int] = None, min_group: int = 1
) -> List[List[int]]:
    """The contiguous groups of highest mean within-group similarity.

    Dynamic programming over all partitions: the mean over blocks of the mean pairwise similarity
    of the block's group (1 for a block alone) is as high as it can be. Of equal partitions the
    one with the earlier, smaller groups is taken.

    Args:
        similarity: (L, L), of the blocks' maps.
        num_groups: exactly so many groups; any number where None.
        min_group: least blocks in a group.

    Raises:
        ValueError: no such partition.
    """
    blocks = len(similarity)
    if min_group < 1 or blocks < min_group:
        raise ValueError(f"{blocks} blocks cannot be in groups of at least {min_group}")
    if num_groups is not None and not 1 <= num_groups <= blocks // min_group:
        raise ValueError(
            f"{blocks} blocks cannot be in {num_groups} groups of at least {min_group}"
        )
    most = blocks // min_group
    # best[n][end]: (score, start of the last group) of blocks 0…end−1 in n groups
    best: List[dict] = [{0: (0.0, 0)}]
    for _ in range(most):
        row = {}
        for end in range(min_group, blocks + 1):
            candidates = [
                (score + (end - start) * mean_similarity(similarity, range(start, end)), start)
                for start, (score, _) in best[-1].items()
                if end - start >= min_group
            ]
            if candidates:
                row[end] = max(candidates, key=lambda c: (c[0], -c[1]))
        best.append(row)
    counts = [n for n in range(1, most + 1) if blocks in best[n]]
    count = num_groups if num_groups is not None else max(counts, key=lambda n: best[n][blocks][0])
    groups, end = [], blocks
    for n in range(count, 0, -1):
        start = best[n][end][1]
        groups.append(list(range(start, end)))
        end = start
    return groups[::-1]
