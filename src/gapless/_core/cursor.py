"""The text with which a client goes on: where it is in each of its channels.

``1~<channel>.<position>~<channel>.<position>``: a version, and for each channel eight characters that stand
for its name. Its characters need no escape in URLs, headers and `text/event-stream`. A client may show us any
text; what is not for the channels that it asks for is ignored.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from gapless._core.history import split_cursor

VERSION = "1"


def digest(channel: str) -> str:
    """Return what stands for a channel in a cursor: eight characters of A-Z, a-z, 0-9, - and _."""
    return urlsafe_b64encode(blake2b(channel.encode(), digest_size=6).digest()).decode()


def join(positions: Iterable[tuple[str, str]]) -> str:
    """Return the cursor of pairs of digest and position."""
    return "~".join([VERSION, *(f"{name}.{position}" for name, position in positions)])


def split(text: str, channels: Mapping[str, str]) -> dict[str, str]:
    """Return the positions in a cursor.

    Args:
        text: The cursor.
        channels: Channel by digest; what the cursor says of others is ignored.

    Raises:
        ValueError: It is no cursor of this version.
    """
    version, *parts = text.split("~")
    if version != VERSION:
        raise ValueError(f"cursor: expected one that gapless has given out, got {text!r:.100}")
    positions: dict[str, str] = {}
    for part in parts:
        name, dot, position = part.partition(".")
        if not dot or len(name) != 8:
            raise ValueError(f"cursor: expected one that gapless has given out, got {text!r:.100}")
        if name in channels:
            split_cursor(position)
            positions[channels[name]] = position
    return positions
