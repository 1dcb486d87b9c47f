"""Binary things that the page holds: under an id, in base64."""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple


class Media(NamedTuple):
    """One of them."""

    id: str
    text: str


def media_of(name: str, data: bytes) -> Media:
    """Bytes for the page."""
    return Media(name, b64encode(data).decode("ascii"))
