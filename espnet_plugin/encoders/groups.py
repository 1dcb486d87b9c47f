"""Which blocks share one attention map: the ``reuse_groups`` option and its checks."""

from __future__ import annotations

from typing import Any, Dict, List, Union

from espnet_plugin.analysis.maps.groups import equal_groups

ReuseGroups = Union[int, List[List[int]], str]


def reuse_groups(spec: ReuseGroups, num_blocks: int) -> List[List[int]]:
    """Turn the ``reuse_groups`` option into explicit groups of block indices.

    Args:
        spec: the size of the groups (the last group is shorter when the size does not divide
            ``num_blocks``); or the groups themselves, each a contiguous ascending run of block
            indices, leader first, together covering every block once and in order; or the path of
            a block plan (YAML), whose ``reuse_attention`` actions give the groups.
        num_blocks: number of blocks of the encoder.

    Returns:
        The groups, leader first.

    Raises:
        ValueError: ``spec`` does not describe such groups; the message names ``reuse_groups``.
        FileNotFoundError: the plan does not exist.
    """
    if isinstance(spec, str):
        from espnet_plugin.surgery.plan import BlockPlan

        return _checked(BlockPlan.load(spec).reuse_groups(), num_blocks, f" (plan {spec})")
    if isinstance(spec, int) and not isinstance(spec, bool):
        if spec < 1:
            raise ValueError(f"reuse_groups: a group needs at least 1 block, got {spec}")
        return equal_groups(num_blocks, spec)
    return _checked(spec, num_blocks)


def resolve_reuse_groups(encoder_conf: Dict[str, Any]) -> None:
    """Replace a plan's path in ``encoder_conf`` by the plan's groups, in place.

    Called before ESPnet writes ``config.yaml``, so that a packed model needs no plan file.
    """
    spec = encoder_conf.get("reuse_groups")
    if isinstance(spec, str):
        from espnet_plugin.surgery.plan import BlockPlan

        encoder_conf["reuse_groups"] = BlockPlan.load(spec).reuse_groups()


def _checked(groups: Any, num_blocks: int, where: str = "") -> List[List[int]]:
    try:
        flat = [index for group in groups for index in group]
    except TypeError:
        flat = None
    if flat != list(range(num_blocks)) or not all(groups):
        raise ValueError(
            f"reuse_groups{where}: expected a size, a plan's path, or contiguous groups that cover "
            f"blocks 0 to {num_blocks - 1} in order, each once; got {groups!r}"
        )
    return [list(group) for group in groups]
