"""A job that is started again when the system or a library kills its process."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
from types import FrameType
from typing import Any, Callable, Optional

logger = logging.getLogger(__name__)

KILLED = (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)
"""The kernel's answer to a lack of memory, and what ends a process whose C++ threads fail."""


def watch(job: Callable[[], None], learn: Callable[[str], bool]) -> int:
    """Run ``job`` in a process of its own, again as long as it is killed and that can be helped.

    The process is forked, so call this before any threads are started.

    Args:
        job: what to do.
        learn: called with the signal's name after each such end; False: do not start it again.

    Returns:
        The exit status of the last run.
    """
    while True:
        process = multiprocessing.get_context("fork").Process(target=job)

        def stop(number: int, frame: Optional[FrameType], process: Any = process) -> None:
            process.terminate()

        process.start()
        before = signal.signal(signal.SIGTERM, stop)
        try:
            process.join()
        except KeyboardInterrupt:
            process.join()
            return 130
        finally:
            signal.signal(signal.SIGTERM, before)
        code = process.exitcode or 0
        if code >= 0:
            return code
        name = signal.Signals(-code).name
        if -code not in KILLED or not learn(name):
            print(f"the job was ended by {name}", file=sys.stderr)
            return 128 - code
        logger.warning("the job was ended by %s; it is started again", name)
