"""What a block plan can ask of a block: one small record per kind of action."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Dict, Optional, Tuple, Type


@dataclass(frozen=True)
class Action:
    """One action of a plan.

    ``line`` is the line of the plan file it was read from (from 1), None for an action made
    in memory; it does not take part in comparisons.
    """

    line: Optional[int] = field(default=None, compare=False, repr=False, kw_only=True)

    @property
    def do(self) -> str:
        """The name of the action in the file."""
        return NAMES[type(self)]

    @property
    def touched(self) -> Tuple[int, ...]:
        """The blocks that the action changes."""
        return (self.block,)  # type: ignore[attr-defined]

    def arguments(self) -> Dict[str, Any]:
        """The action's own fields, in the order of the file; without options left as they are."""
        values = {name: getattr(self, name) for name in self.names()}
        return {name: value for name, value in values.items() if value != self.options().get(name)}

    @classmethod
    def names(cls) -> Tuple[str, ...]:
        """The names of the fields that the file may have."""
        return tuple(f.name for f in fields(cls) if f.name != "line")

    @classmethod
    def options(cls) -> Dict[str, Any]:
        """The fields that the file may leave out, with what they then are."""
        defaults = {f.name: f.default for f in fields(cls) if f.name != "line"}
        return {name: value for name, value in defaults.items() if value is not MISSING}


@dataclass(frozen=True)
class Drop(Action):
    """Take the block out of the stack."""

    block: int


@dataclass(frozen=True)
class ReuseAttention(Action):
    """Use the attention map of block ``leader`` in place of the block's own."""

    block: int
    leader: int


@dataclass(frozen=True)
class LocalAttention(Action):
    """Attend only to frames at most ``window`` frames away."""

    block: int
    window: int


@dataclass(frozen=True)
class Share(Action):
    """Use the parameters of block ``source`` in place of the block's own."""

    block: int
    source: int


@dataclass(frozen=True)
class PruneHeads(Action):
    """Remove these heads of the block (their maps count as zero)."""

    block: int
    heads: Tuple[int, ...]


@dataclass(frozen=True)
class Mimic(Action):
    """Replace the blocks from ``blocks[0]`` to ``blocks[1]``, both included, by a small network
    of ``layers`` layers of width ``hidden`` that is taught to imitate them; ``kind`` is one of
    :data:`MIMICS`."""

    blocks: Tuple[int, int]
    hidden: int
    layers: int
    kind: str = "linear"

    @property
    def touched(self) -> Tuple[int, ...]:
        return tuple(range(self.blocks[0], self.blocks[1] + 1))


MIMICS = ("linear", "transformer")
"""Kinds of layers that imitate; see :mod:`espnet_plugin.surgery.mimic`."""

KINDS: Dict[str, Type[Action]] = {
    "drop": Drop,
    "reuse_attention": ReuseAttention,
    "local_attention": LocalAttention,
    "share": Share,
    "prune_heads": PruneHeads,
    "mimic": Mimic,
}
NAMES = {kind: name for name, kind in KINDS.items()}
