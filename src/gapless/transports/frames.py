"""What is sent of an event or a gap, made once for all clients that get it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import msgspec

from gapless._core import cursor as cursors
from gapless._core.event import Event, Gap
from gapless._core.log import Entry

# Subprotocol of the JSON messages for WebSockets.
PROTOCOL = "gapless.v1"

_NEWLINE = re.compile(rb"\r\n|\r|\n")


def once(entry: Entry, key: str, make: Callable[[Entry], Any]) -> Any:
    """Return what `make` makes of an entry; it is kept with the entry, under `key`."""
    frames = entry.frames
    if frames is None:
        frames = entry.frames = {}
    if key not in frames:
        frames[key] = make(entry)
    return frames[key]


class Frames:
    """Makes the bytes of events, each once for all clients of a channel.

    Args:
        envelope: Send ``{"channel": ..., "data": ...}`` as data, and not the payload alone, which does not
            say what channel it is of.
        base64: Send payloads in base64. Without it a payload that is not UTF-8 is an event of the type
            ``base64``, and each kind of line end arrives as a line feed.
    """

    def __init__(self, *, envelope: bool, base64: bool) -> None:
        self._envelope = envelope
        self._base64 = base64
        # In Entry.frames, which is shared with whoever makes others.
        self._key = f"sse{envelope:d}{base64:d}"
        self._whole = f"{self._key}-whole"

    def without_id(self, entry: Entry) -> bytes:
        """Return the frame of an entry, but for its id and the empty line that ends it."""
        frame: bytes = once(entry, self._key, self._make)
        return frame

    def with_id(self, entry: Entry) -> bytes:
        """Return the whole frame for clients of one channel, whose cursors are equal."""
        frame: bytes = once(entry, self._whole, self._make_whole)
        return frame

    def _make_whole(self, entry: Entry) -> bytes:
        channel, reached = entry.item.channel, entry.reached
        cursor = None if reached is None else cursors.join([(cursors.digest(channel), reached)])
        return self.without_id(entry) + id_line(cursor)

    def _make(self, entry: Entry) -> bytes:
        item = entry.item
        if isinstance(item, Gap):
            return b"event: gap\ndata: " + msgspec.json.encode(_gap_fields(item)) + b"\n"
        kind, data = b"", item.data
        is_text = not self._base64 and _is_utf8(data)
        if not is_text:
            kind, data = b"" if self._base64 else b"event: base64\n", b64encode(data)
        if self._envelope:
            data = msgspec.json.encode({"channel": item.channel, "data": data.decode()})
        if b"\n" in data or b"\r" in data:
            return kind + b"".join(b"data: " + line + b"\n" for line in _NEWLINE.split(data))
        return kind + b"data: " + data + b"\n"


def id_line(cursor: str | None) -> bytes:
    """Return the end of a frame: its id, if there is one, and the empty line."""
    return b"\n" if cursor is None else b"id: " + cursor.encode() + b"\n\n"


def text_of(entry: Entry) -> str | None:
    """Return the payload of an event, None if it is not UTF-8."""
    text: str | None = once(entry, "text", _text_of)
    return text


def envelope_of(entry: Entry) -> str:
    """Return the message of `gapless.v1` for an entry."""
    text: str = once(entry, PROTOCOL, _envelope_of)
    return text


def _text_of(entry: Entry) -> str | None:
    item = entry.item
    return item.data.decode() if isinstance(item, Event) and _is_utf8(item.data) else None


def _envelope_of(entry: Entry) -> str:
    item = entry.item
    fields: dict[str, Any]
    if isinstance(item, Gap):
        fields = {"gap": _gap_fields(item)}
        if entry.reached is not None:
            fields["id"] = entry.reached
    elif _is_utf8(item.data):
        fields = {"channel": item.channel, "id": item.id, "data": item.data.decode()}
    else:
        data = b64encode(item.data).decode()
        fields = {"channel": item.channel, "id": item.id, "data": data, "base64": True}
    return msgspec.json.encode(fields).decode()


def _gap_fields(gap: Gap) -> dict[str, Any]:
    return {"channel": gap.channel, "after": gap.after, "reason": gap.reason, "lost": gap.lost}


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
