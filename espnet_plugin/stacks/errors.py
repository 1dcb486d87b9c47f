"""The error of stacks: one line that names the file, or the argument, and what to do."""

from __future__ import annotations


class StackError(ValueError):
    """A stack that cannot be built, loaded or saved; the message is one line."""
