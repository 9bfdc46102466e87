"""What windows and the server say to each other: JSON objects, one per WebSocket message.

    window to server    {"id", "author", "text"}
    server to window    {"kind": "hello" | "message" | "rooms" | "redis" | "error", ...}

A "message" also travels through Redis in exactly this form. The window chooses the id: a message
that is published twice, because nobody knows whether the first time worked, is still shown once.
"""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Literal

import msgspec

NAME_LIMIT = 24
TEXT_LIMIT = 500
ROOM_LIMIT = 24

_ROOM = re.compile(rf"[^\W_](?:[^\W_]|-){{0,{ROOM_LIMIT - 1}}}")

_encoder = msgspec.json.Encoder()


class RefusedError(Exception):
    """What a window asked for can't be done. The text is for the person in front of it."""

    def __init__(self, text: str, *, message_id: str | None = None) -> None:
        super().__init__(text)
        self.message_id = message_id


class Draft(msgspec.Struct, frozen=True):
    """A message as a window sends it."""

    id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    author: str
    text: str


class Message(msgspec.Struct, frozen=True, tag_field="kind", tag="message"):
    """A message as it is published and kept."""

    id: str
    room: str
    author: str
    text: str
    sent_at_ms: int


class Room(msgspec.Struct, frozen=True):
    """A line of the list of rooms."""

    name: str
    windows: int


class RoomList(msgspec.Struct, frozen=True, tag_field="kind", tag="rooms"):
    """Sent whenever a room is created, or a window comes or goes."""

    rooms: list[Room]


class RedisStatus(msgspec.Struct, frozen=True, tag_field="kind", tag="redis"):
    """The connections of the backend, by the ids that the server gave them.

    After a cut, `before` holds the ids that were killed and `after_ms` the time from the first kill
    until both connections were back.
    """

    state: Literal["up", "cut", "down"]
    ids: dict[str, int] = {}
    before: dict[str, int] = {}
    after_ms: int | None = None


class Hello(msgspec.Struct, frozen=True, tag_field="kind", tag="hello"):
    """The first thing a window gets. `history` is oldest first; None: it can't be read now."""

    room: str
    rooms: list[Room]
    history: list[msgspec.Raw] | None
    redis: RedisStatus


class Problem(msgspec.Struct, frozen=True, tag_field="kind", tag="error"):
    """Only for the window that caused it; `id` names its message, where there is one."""

    text: str
    id: str | None = None


def encode(value: Any) -> bytes:
    """Return a value as JSON."""
    return _encoder.encode(value)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def read_draft(data: str) -> Draft:
    """Return what a window sent, with surrounding white space removed.

    Raises:
        RefusedError: It is not a message, or its name or text is empty or too long.
    """
    try:
        draft = msgspec.json.decode(data, type=Draft)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise RefusedError(f"That is not a message: {error}.") from None
    author, text = draft.author.strip(), draft.text.strip()
    problem = None
    if not author:
        problem = "A message needs a name."
    elif len(author) > NAME_LIMIT:
        problem = f"A name has at most {NAME_LIMIT} characters."
    elif not text:
        problem = "A message needs some text."
    elif len(text) > TEXT_LIMIT:
        problem = f"A message has at most {TEXT_LIMIT} characters; this one has {len(text)}."
    if problem is not None:
        raise RefusedError(problem, message_id=draft.id)
    return Draft(id=draft.id, author=author, text=text)


def read_room_name(name: str) -> str:
    """Return the name of a room in the form that counts: without white space around it, lower case.

    Raises:
        RefusedError: It is not a name for a room.
    """
    name = "-".join(name.split()).lower()
    if not _ROOM.fullmatch(name):
        raise RefusedError(
            f"The name of a room has 1 to {ROOM_LIMIT} letters, digits and hyphens, "
            "and does not begin with a hyphen."
        )
    return name
