"""From an attention analysis to a block plan that reuses maps, with the reasons."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from espnet_plugin.analysis.maps.attention_report import AnalysisError
from espnet_plugin.analysis.maps.groups import (
    best_groups,
    equal_groups,
    grow_groups,
    mean_similarity,
)
from espnet_plugin.surgery.plan import BlockPlan


def propose_reuse(
    report: Dict[str, Any],
    theta: Optional[float] = None,
    group_size: Optional[int] = None,
    num_groups: Optional[int] = None,
    min_group: Optional[int] = None,
) -> BlockPlan:
    """A plan of contiguous reuse groups; exactly one way of choosing them.

    Args:
        report: what :func:`espnet_plugin.analysis.maps.attention_report.load_report` returns.
        theta: grow groups while the mean pairwise similarity stays at least this (0 to 1).
        group_size: groups of so many blocks, whatever the maps.
        num_groups: the best groups of this number…
        min_group: …or of at least this size, or both.

    Raises:
        AnalysisError: the analysis has no similarity of maps, and the way asked for needs it.
        ValueError: not exactly one way, or one that the blocks do not allow.
    """
    best = num_groups is not None or min_group is not None
    if (theta is not None) + (group_size is not None) + best != 1:
        raise ValueError("give one of theta, group_size, or num_groups and/or min_group")
    similarity = report["similarity"]
    if similarity is None and group_size is None:
        raise AnalysisError(
            "the analysis has no similarity of maps; run espnet_plugin.bin.analyze with "
            "--measures attention map_similarity, or give a group size"
        )
    mapless = [str(n) for n, row in enumerate(similarity or ()) if row[n] is None]
    if mapless:
        raise AnalysisError(f"blocks {', '.join(mapless)} have no attention map to reuse")
    if theta is not None:
        if not 0 <= theta <= 1:
            raise ValueError(f"theta must be from 0 to 1, not {theta}")
        groups = grow_groups(similarity, theta)
        rule = f"grown while the mean is at least {theta:g}"
    elif group_size is not None:
        groups = equal_groups(report["model"]["blocks"], group_size)
        rule = f"groups of {group_size} as asked"
    else:
        groups = best_groups(similarity, num_groups, min_group or 1)
        wanted = [f"{num_groups} groups"] if num_groups is not None else []
        wanted += [f"at least {min_group} blocks each"] if min_group is not None else []
        rule = f"the best partition into {', '.join(wanted) or 'groups'}"
    because = {
        block: _reason(similarity, group, block, rule, report)
        for group in groups
        for block in group[1:]
    }
    model = report["model"]
    return BlockPlan.from_groups(groups, model["family"], model["directory"], because)


def _reason(
    similarity: Optional[List[List[float]]],
    group: List[int],
    block: int,
    rule: str,
    report: Dict[str, Any],
) -> str:
    if similarity is None:
        return f"block {block} reuses {group[0]}: {rule}; similarity not measured"
    return (
        f"block {block} reuses {group[0]}: Jensen–Shannon similarity of their maps "
        f"{similarity[group[0]][block]:.3f}, mean within blocks {group[0]}–{group[-1]} "
        f"{mean_similarity(similarity, group):.3f} over {report['data']['utterances']} "
        f"utterances [I]; {rule}"
    )
