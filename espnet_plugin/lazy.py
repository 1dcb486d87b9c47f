"""Names of a package that are imported from their modules when they are used first (PEP 562)."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple


def lazy_names(
    package: Dict[str, Any], modules: Mapping[str, Sequence[str]]
) -> Tuple[Callable[[str], Any], Callable[[], List[str]]]:
    """The functions ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: its ``globals()``; a name that was used once stays there.
        modules: module below the package -> the names that come from it.
    """
    where = {name: module for module, names in modules.items() for name in names}
    own = package["__name__"]

    def find(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {own!r} has no attribute {name!r}")
        value = getattr(import_module(f"{own}.{where[name]}"), name)
        package[name] = value
        return value

    return find, lambda: sorted({*package, *where})
