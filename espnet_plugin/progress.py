"""Progress of long work: a bar where there is a terminal, a log line a minute otherwise."""

from __future__ import annotations

import logging
import sys
import time
from typing import Iterable, Iterator, Optional, TypeVar

from tqdm import tqdm

T = TypeVar("T")
logger = logging.getLogger(__name__)


def progress(
    items: Iterable[T], what: str, total: Optional[int] = None, seconds: float = 60.0
) -> Iterator[T]:
    """Yield ``items`` and show how many are done.

    Args:
        items: what to go through.
        what: the noun in the bar or the log line, for example ``"decode test"``.
        total: how many there are; taken from ``len(items)`` where that works.
        seconds: the time between two log lines where standard error is no terminal.
    """
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # type: ignore[arg-type]
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total)
        return
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            of = f"/{total}" if total is not None else ""
            logger.info("%s: %d%s after %.0f s", what, done, of, now - start)
