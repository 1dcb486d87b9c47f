"""Configurations in checkpoints: dictionaries, namespaces and OmegaConf's containers alike."""

from __future__ import annotations

import ast
from typing import Any, Mapping, Tuple

from espnet_plugin.stacks.files.inert import Record
from espnet_plugin.stacks.files.stored import FileError

_MOST_LAYERS = 100


def plain(value: Any) -> Any:
    """One layer of ``value`` without its wrapping.

    OmegaConf's containers and nodes become their content, objects with attributes (such as
    ``argparse.Namespace``) a dictionary of these, and enumerators their value.
    """
    if not isinstance(value, Record):
        return value
    attributes = value.attributes
    for wrapped in ("_content", "_val"):
        if wrapped in attributes:
            return plain(attributes[wrapped])
    if value.state is None and len(value.args) == 1:
        return value.args[0]
    return attributes


class Settings:
    """A configuration whose entries are checked when they are asked for."""

    def __init__(self, values: Any) -> None:
        values = plain(values)
        self._values: Mapping[Any, Any] = values if isinstance(values, dict) else {}

    def __bool__(self) -> bool:
        return bool(self._values)

    def __contains__(self, name: str) -> bool:
        return plain(self._values.get(name)) is not None

    def section(self, name: str) -> Settings:
        """The entries below ``name``; none where it is not there."""
        return Settings(self._values.get(name))

    def value(self, name: str, default: Any) -> Any:
        """The entry ``name``, which must be of the default's type, or the default.

        Raises:
            FileError: it is of another type.
        """
        value = plain(self._values.get(name))
        if value is None:
            return default
        if type(default) is float and type(value) is int:
            return float(value)
        if type(default) is tuple and isinstance(value, (list, tuple)):
            return tuple(plain(entry) for entry in value)
        if type(value) is not type(default):
            shown = repr(value) if isinstance(value, (int, float, str)) else type(value).__name__
            raise FileError(f"its configuration has {name}: {shown}, unlike any model known here")
        return value

    def require(self, name: str, value: Any) -> None:
        """Refuse a model whose entry ``name`` differs from ``value``.

        Raises:
            FileError: it does.
        """
        found = self.value(name, value)
        if found != value:
            raise FileError(
                f"its configuration has {name}: {found!r}; only {value!r} can be loaded"
            )


def convolutions(text: str) -> Tuple[Tuple[int, int, int], ...]:
    """Channels, kernel and stride of each layer, from fairseq's ``conv_feature_layers``.

    The text is Python there, such as ``[(512, 10, 5)] + [(512, 3, 2)] * 4``, and evaluated; here
    only lists, tuples, whole numbers, ``+`` and ``*`` are read.

    Raises:
        FileError: anything else.
    """
    try:
        layers = _evaluate(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        layers = None
    return check_convolutions(layers)


def check_convolutions(layers: Any) -> Tuple[Tuple[int, int, int], ...]:
    """``layers`` as a tuple of three positive numbers each.

    Raises:
        FileError: it is none.
    """
    good = isinstance(layers, (list, tuple)) and 0 < len(layers) <= _MOST_LAYERS
    for layer in layers if good else ():
        good = good and isinstance(layer, (list, tuple)) and len(layer) == 3
        good = good and all(type(n) is int and 0 < n < 1 << 16 for n in layer)
    if not good:
        raise FileError("its configuration has no convolutions that can be understood")
    return tuple((int(c), int(k), int(s)) for c, k, s in layers)


def _evaluate(node: ast.AST) -> Any:
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_evaluate(entry) for entry in node.elts]
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left), _evaluate(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, list) and isinstance(right, list):
            return left + right
        if isinstance(node.op, ast.Mult) and isinstance(left, list) and type(right) is int:
            if len(left) * right <= _MOST_LAYERS:
                return left * right
    raise ValueError("not a list of convolutions")
