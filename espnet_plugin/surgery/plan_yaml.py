"""Read YAML with the line of everything, so that an error can name the line at fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import yaml


class PlanError(ValueError):
    """A plan that cannot be read, contradicts itself or does not fit its stack."""


class Node:
    """A YAML node that knows its file and line and converts itself, or says what is wrong.

    Nothing in a file can make Python objects: only mappings, sequences and plain scalars are
    read.
    """

    def __init__(self, node: yaml.Node, where: str) -> None:
        self._node = node
        self._where = where

    @property
    def line(self) -> int:
        """The line in the file, from 1."""
        return self._node.start_mark.line + 1

    def error(self, message: str) -> PlanError:
        return PlanError(f"{self._where}:{self.line}: {message}")

    def mapping(self, what: str) -> Dict[str, Node]:
        """The entries of a mapping with distinct string keys."""
        if not isinstance(self._node, yaml.MappingNode):
            raise self.error(f"{what} must be a mapping (key: value), not {self._kind()}")
        entries: Dict[str, Node] = {}
        for key_node, value_node in self._node.value:
            key = Node(key_node, self._where).string(f"a key of {what}")
            if key in entries:
                raise Node(key_node, self._where).error(f"{what} has the key {key!r} twice")
            entries[key] = Node(value_node, self._where)
        return entries

    def sequence(self, what: str) -> List[Node]:
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.error(f"{what} must be a list, not {self._kind()}")
        return [Node(item, self._where) for item in self._node.value]

    def integer(self, what: str, least: int = 0) -> int:
        value = self._scalar()
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(f"{what} must be a whole number, not {self._kind()}")
        if value < least:
            raise self.error(f"{what} must be at least {least}, not {value}")
        return value

    def integers(self, what: str) -> Tuple[int, ...]:
        return tuple(item.integer(f"an entry of {what}") for item in self.sequence(what))

    def string(self, what: str) -> str:
        value = self._scalar()
        if not isinstance(value, str):
            raise self.error(f"{what} must be text, not {self._kind()}")
        return value

    def is_null(self) -> bool:
        return self._node.tag == "tag:yaml.org,2002:null"

    def _scalar(self) -> Any:
        if not isinstance(self._node, yaml.ScalarNode):
            return None
        try:
            return yaml.constructor.SafeConstructor().construct_object(self._node)
        except (yaml.YAMLError, ValueError):
            raise self.error(f"cannot read {self._node.value!r}") from None

    def _kind(self) -> str:
        if isinstance(self._node, yaml.MappingNode):
            return "a mapping"
        if isinstance(self._node, yaml.SequenceNode):
            return "a list"
        return repr(self._node.value)


def read_yaml(text: str, where: str) -> Node:
    """Parse ``text``; ``where`` (a file name) begins every error.

    Raises:
        PlanError: not YAML, several documents, or empty.
    """
    try:
        node: Optional[yaml.Node] = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise PlanError(f"{where}{line}: not YAML: {e.problem or e.context}") from None
    except yaml.YAMLError as e:
        raise PlanError(f"{where}: not YAML: {' '.join(str(e).split())}") from None
    except RecursionError:
        raise PlanError(f"{where}: nested too deeply for a plan") from None
    if node is None:
        raise PlanError(f"{where}:1: the plan is empty")
    return Node(node, where)


def read_text(path: Path) -> str:
    """The text of a plan file, as UTF-8.

    Raises:
        PlanError: no such file, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as e:
        raise PlanError(f"{path}: cannot read the plan: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise PlanError(f"{path}: not UTF-8 text (byte {e.start})") from None
