"""The block plan: a small YAML file that says what happens to each block of a stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import yaml

from espnet_plugin.atomic import PathLike, atomic_open
from espnet_plugin.surgery.actions import (
    KINDS,
    Action,
    PruneHeads,
    ReuseAttention,
)
from espnet_plugin.surgery.plan_check import check_actions
from espnet_plugin.surgery.plan_yaml import Node, PlanError, read_text, read_yaml

__all__ = ["BlockPlan", "PlanError", "StackDescription"]


@dataclass(frozen=True)
class StackDescription:
    """The stack that a plan is for."""

    family: str
    """What kind of encoder: conformer, transformer, wav2vec2, hubert, wavlm, …"""
    blocks: int
    """How many blocks it has before any action."""
    model: Optional[str] = None
    """Where it came from: an experiment directory or a checkpoint."""


@dataclass(frozen=True)
class BlockPlan:
    """What happens to each block of a stack; blocks that no action names are kept.

    A plan is checked when it is made and when it is read: types, ranges and contradictions.

    Args:
        stack: what the plan is for.
        actions: see :mod:`espnet_plugin.surgery.actions`.
        because: one line per action with the figures that led to it, or nothing at all.
        path: the file it was read from; begins the error lines.

    Raises:
        PlanError: one line naming the file and line (or the action) at fault.
    """

    stack: StackDescription
    actions: Tuple[Action, ...] = ()
    because: Tuple[str, ...] = ()
    path: Optional[Path] = None

    def __post_init__(self) -> None:
        self.validate()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BlockPlan):
            return NotImplemented
        mine = (self.stack, self.actions, self.because)
        return mine == (other.stack, other.actions, other.because)

    def __hash__(self) -> int:
        return hash((self.stack, self.actions, self.because))

    def validate(
        self,
        blocks: Optional[int] = None,
        heads: Union[int, Sequence[int], None] = None,
        family: Optional[str] = None,
    ) -> None:
        """Check the plan, and that it fits a stack where its properties are given.

        Args:
            blocks: number of blocks of the real stack.
            heads: attention heads of each of its blocks; or of all alike.
            family: its family.

        Raises:
            PlanError: the plan contradicts itself or does not fit.
        """
        if not self.stack.family:
            raise self.error(None, "stack: family is empty")
        if self.stack.blocks < 1:
            raise self.error(None, f"stack: blocks must be at least 1, not {self.stack.blocks}")
        if self.because and len(self.because) != len(self.actions):
            raise self.error(None, _unequal(self.because, self.actions))
        for reason in self.because:
            if not reason.isprintable():
                raise self.error(None, f"because: not one line of plain text: {reason!r}")
        check_actions(self.stack.blocks, self.actions, self.error)
        if family is not None and family != self.stack.family:
            raise self.error(
                None, f"the plan is for a {self.stack.family} stack, and this one is {family}"
            )
        if blocks is not None and blocks != self.stack.blocks:
            raise self.error(
                None, f"the plan is for {self.stack.blocks} blocks, and this stack has {blocks}"
            )
        if heads is not None:
            self._check_heads([heads] * self.stack.blocks if isinstance(heads, int) else heads)

    def _check_heads(self, heads: Sequence[int]) -> None:
        for action in self.actions:
            if isinstance(action, PruneHeads):
                count = heads[action.block]
                for head in action.heads:
                    if head >= count:
                        there = f"heads 0 to {count - 1}" if count else "the block has none"
                        raise self.error(action, f"head {head} is not there ({there})")

    def error(self, action: Optional[Action], message: str) -> PlanError:
        """An error that names the file and the line of ``action``, or its place in the list."""
        where = str(self.path) if self.path is not None else "block plan"
        if action is None:
            return PlanError(f"{where}: {message}")
        if action.line is not None:
            return PlanError(f"{where}:{action.line}: {message}")
        return PlanError(f"{where}: action {self.actions.index(action)}: {message}")

    # -- reuse groups ---------------------------------------------------------------------

    @classmethod
    def from_groups(
        cls,
        groups: Sequence[Sequence[int]],
        family: str = "conformer",
        model: Optional[str] = None,
        because: Optional[Mapping[int, str]] = None,
    ) -> BlockPlan:
        """A plan in which each group's first block leads and the others reuse its map.

        Args:
            groups: contiguous groups that cover blocks 0, 1, 2, … in order.
            family, model: as in :class:`StackDescription`.
            because: follower block -> the reason for its action; all followers or none.

        Raises:
            PlanError: the groups do not cover the blocks in order.
        """
        flat = [block for group in groups for block in group]
        if flat != list(range(len(flat))) or not all(len(group) for group in groups):
            raise PlanError(
                f"reuse groups must cover the blocks 0, 1, 2, … in order, not {list(groups)}"
            )
        actions = tuple(ReuseAttention(block, group[0]) for group in groups for block in group[1:])
        reasons = tuple(because[a.block] for a in actions) if because else ()
        return cls(StackDescription(family, len(flat), model), actions, reasons)

    def reuse_groups(self) -> List[List[int]]:
        """All blocks of the stack in contiguous groups, leader first; alone where not named.

        Raises:
            PlanError: the plan has actions other than ``reuse_attention``, which groups cannot
                express.
        """
        groups: List[List[int]] = []
        leaders = {}
        for action in self.actions:
            if not isinstance(action, ReuseAttention):
                raise self.error(
                    action, f"only reuse_attention can be turned into groups, not {action.do}"
                )
            leaders[action.block] = action.leader
        for block in range(self.stack.blocks):
            if block in leaders:
                groups[-1].append(block)
            else:
                groups.append([block])
        return groups

    # -- files ----------------------------------------------------------------------------

    @classmethod
    def load(cls, path: PathLike) -> BlockPlan:
        """Read and check a plan file.

        Raises:
            PlanError: one line that begins with ``file:line:``.
        """
        path = Path(path)
        return cls.parse(read_text(path), path)

    @classmethod
    def parse(cls, text: str, path: Optional[Path] = None) -> BlockPlan:
        """A plan from YAML text; ``path`` is the name to give in errors."""
        root = read_yaml(text, str(path) if path is not None else "block plan")
        entries = _known(root, "the plan", required=("stack",), optional=("actions", "because"))
        description = _known(
            entries["stack"], "stack", required=("family", "blocks"), optional=("model",)
        )
        model = description.get("model")
        stack = StackDescription(
            description["family"].string("family"),
            description["blocks"].integer("blocks", least=1),
            None if model is None or model.is_null() else model.string("model"),
        )
        if not stack.family:
            raise description["family"].error("family is empty")
        actions = _optional_list(entries.get("actions"), "actions")
        because = _optional_list(entries.get("because"), "because")
        for node in because:
            if not node.string("a line of because").isprintable():
                raise node.error("a line of because must be one line of plain text")
        if because and len(because) != len(actions):
            raise entries["because"].error(_unequal(because, actions))
        return cls(
            stack,
            tuple(_read_action(node) for node in actions),
            tuple(node.string("a line of because") for node in because),
            path,
        )

    def save(self, path: PathLike) -> None:
        """Write the plan as YAML, whole or not at all."""
        with atomic_open(path) as stream:
            stream.write(self.to_yaml())

    def to_yaml(self) -> str:
        """The plan as YAML text, one line per action."""
        stack: Dict[str, Any] = {"family": self.stack.family, "blocks": self.stack.blocks}
        if self.stack.model is not None:
            stack["model"] = self.stack.model
        lines = [f"stack: {_flow(stack)}", "actions:" if self.actions else "actions: []"]
        for action in self.actions:
            entries = {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in action.arguments().items()
            }
            first = next(iter(entries))
            lines.append(f"  - {_flow({first: entries.pop(first), 'do': action.do, **entries})}")
        if self.because:
            lines.append("because:")
            lines += [f"  - {_flow([reason])[1:-1]}" for reason in self.because]
        return "\n".join(lines) + "\n"


def _unequal(because: Sequence[Any], actions: Sequence[Any]) -> str:
    return (
        f"because has {len(because)} lines for {len(actions)} actions; "
        "give one line per action or none"
    )


def _flow(value: Union[Mapping[str, Any], Sequence[str]]) -> str:
    entries = value.values() if isinstance(value, Mapping) else value
    text = yaml.safe_dump(
        value,
        default_flow_style=True,
        sort_keys=False,
        # PyYAML writes line breaks other than \n (U+0085, U+2028) as they are and reads them
        # back as spaces; escaped, they come back as they were.
        allow_unicode=all(str(entry).isprintable() for entry in entries),
        width=float("inf"),
    )
    return text.rstrip("\n")


def _known(
    node: Node, what: str, required: Sequence[str], optional: Sequence[str] = ()
) -> Dict[str, Node]:
    entries = node.mapping(what)
    for key, value in entries.items():
        if key not in required and key not in optional:
            allowed = ", ".join([*required, *optional])
            raise value.error(f"{what} has no key {key!r} (it takes {allowed})")
    for key in required:
        if key not in entries:
            raise node.error(f"{what} lacks {key!r}")
    return entries


def _optional_list(node: Optional[Node], what: str) -> List[Node]:
    return [] if node is None or node.is_null() else node.sequence(what)


def _read_action(node: Node) -> Action:
    entries = node.mapping("an action")
    if "do" not in entries:
        raise node.error(f"an action lacks 'do' (one of {', '.join(KINDS)})")
    name = entries["do"].string("do")
    if name not in KINDS:
        raise entries["do"].error(f"unknown action {name!r} (one of {', '.join(KINDS)})")
    kind = KINDS[name]
    required = [key for key in kind.names() if key not in kind.options()]
    _known(node, f"the action {name}", ["do", *required], list(kind.options()))
    values = {
        key: _VALUES.get(key, Node.integer)(entries[key], key)
        for key in kind.names()
        if key in entries
    }
    return kind(line=node.line, **values)


_VALUES: Dict[str, Callable[[Node, str], Any]] = {
    "heads": Node.integers,
    "blocks": Node.integers,
    "kind": Node.string,
}
"""How the fields of an action are read; others are whole numbers."""
