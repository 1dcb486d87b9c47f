"""Files that are either whole or not there: write to a temporary name, then rename."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Iterator, Union

PathLike = Union[str, "os.PathLike[str]"]


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it to ``path`` if the body succeeds.

    The temporary name keeps the suffixes of ``path``, so that libraries which choose a
    format by suffix still do. On an exception the temporary file is removed and ``path``
    is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_open(path: PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file for writing (UTF-8 in text modes); rename it on success."""
    if "w" not in mode:
        raise ValueError(f"atomic_open writes whole files, so mode must contain 'w': {mode!r}")
    with atomic_path(path) as temporary:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream


@contextmanager
def atomic_dir(path: PathLike) -> Iterator[Path]:
    """Give an empty temporary directory; put it in the place of ``path`` on success.

    What ``path`` held before is replaced as a whole; on an exception it stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".tmp-{path.name}-", dir=path.parent))
    os.chmod(temporary, 0o755)
    try:
        yield temporary
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".old-{path.name}-", dir=path.parent))
            os.replace(path, old / path.name)
            try:
                os.replace(temporary, path)
            except BaseException:
                os.replace(old / path.name, path)
                raise
            finally:
                shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(directory: PathLike) -> Iterator[None]:
    """Wait until no other process has the directory locked, and lock it for the body."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_json(path: PathLike, value: Any) -> None:
    """Write ``value`` as indented JSON; NaN and infinity are refused (they are not JSON)."""
    with atomic_open(path) as stream:
        json.dump(value, stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
