"""Unpickling that makes tensors, plain values and inert records, and runs nothing.

A pickle is a program: its opcodes name functions and classes, and call them. Here the names stay
names. An opcode that would call something is answered by a short table of our own functions,
which make tensors and containers from plain values; everything else becomes a :class:`Record`,
which keeps what it was given and does nothing with it. No module is imported, no attribute is
looked up, no method of a foreign class is called.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import IO, Any, Callable, ClassVar, Dict, List, Mapping, Sequence, Tuple

from espnet_plugin.stacks.files.stored import TYPES, FileError, Storage, StoredTensor


@dataclass(frozen=True)
class Name:
    """A function or class that a pickle names; only its name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, repr=False)
class Record:
    """An object of a foreign class, as the pickle describes it; it does nothing."""

    kind: str
    """The class's module and name."""
    args: Tuple[Any, ...] = ()
    """What its constructor would have been given."""
    state: Any = None
    """What its ``__setstate__`` would have been given."""
    items: List[Any] = field(default_factory=list)
    """What would have been appended to it, or added."""
    entries: Dict[Any, Any] = field(default_factory=dict)
    """What would have been set by key."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The object's ``__dict__``, where its state is one."""
        return self.state if isinstance(self.state, dict) else {}

    def extend(self, items: Sequence[Any]) -> None:
        self.items.extend(items)

    def append(self, item: Any) -> None:
        self.items.append(item)

    add = append

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value


def read_pickle(stream: IO[bytes], storage: Callable[[Tuple[Any, ...]], Storage]) -> Any:
    """Read one pickle.

    Args:
        stream: a binary stream at the beginning of the pickle; left at its end.
        storage: given the persistent id of a tensor's data, says where they are.

    Returns:
        What was pickled: tensors as :class:`StoredTensor`, ordered dictionaries as dictionaries,
        parameters as their tensors, objects as :class:`Record`, functions and classes as
        :class:`Name`, and numbers, strings and plain containers as they are.

    Raises:
        FileError: not a whole pickle.
    """
    try:
        return _Unpickler(stream, storage).load()
    except FileError:
        raise
    except EOFError:
        raise FileError("it ends too early; copy or download it again") from None
    except Exception as error:  # what bad bytes make of the unpickler is of many types
        raise FileError(f"it is damaged ({type(error).__name__} in its pickle)") from error


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler with every opcode that would call something replaced."""

    dispatch: ClassVar[Dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: List[Any]
    append: Callable[[Any], None]

    def __init__(self, stream: IO[bytes], storage: Callable[[Tuple[Any, ...]], Storage]) -> None:
        super().__init__(stream, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        return Name(module, name)

    def get_extension(self, code: int) -> None:
        raise FileError("it is damaged (a pickle of registered extensions)")

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or not pid:
            raise FileError("it is damaged (an unknown persistent id)")
        if pid[0] == "module":  # torch before 1.6: a class with its source
            return pid[1]
        return self._storage(pid)

    def _instantiate(self, kind: Any, args: Sequence[Any]) -> None:
        self.append(_make(kind, tuple(args)))

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = _make(self.stack[-1], args)

    def load_newobj(self) -> None:
        self.load_reduce()

    def load_newobj_ex(self) -> None:
        self.stack.pop()  # keyword arguments
        self.load_reduce()

    def load_build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Record):
            self.stack[-1].state = state

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.BUILD[0]] = load_build


def _make(kind: Any, args: Tuple[Any, ...]) -> Any:
    """What stands for the result of calling ``kind`` with ``args``."""
    make = _MAKERS.get(str(kind)) if isinstance(kind, Name) else None
    if make is not None:
        return make(*args)
    return Record(str(kind) if isinstance(kind, Name) else "", args)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise FileError("it is damaged (a tensor without data)")
    return StoredTensor(storage, offset, tuple(shape), tuple(stride), storage.dtype)


def _typed_tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> StoredTensor:
    found = TYPES.get(dtype.name) if isinstance(dtype, Name) else None
    if not isinstance(storage, Storage) or found is None:
        raise FileError("it is damaged (a tensor without data or type)")
    return StoredTensor(storage, offset, tuple(shape), tuple(stride), found)


def _plain_dict(*args: Any) -> Dict[Any, Any]:
    return dict(args[0]) if args and isinstance(args[0], (dict, list)) else {}


_MAKERS: Dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
    "torch._tensor._rebuild_from_type_v2": lambda make, kind, args, state: _make(make, args),
    "torch.Size": lambda sizes=(): tuple(sizes),
    "collections.OrderedDict": _plain_dict,
    "collections.defaultdict": lambda *_: {},
    "__builtin__.set": lambda items=(): set(items),
    "builtins.set": lambda items=(): set(items),
}
"""Our own functions for what torch and Python write into checkpoints; they call nothing."""
