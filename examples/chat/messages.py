"""What windows and the server say to each other: JSON objects, one per WebSocket message.

    window to server    {"id", "author", "text"}
    server to window    {"kind": "hello" | "message" | "gap" | "rooms" | "redis" | "error", ...}

What has a "cursor" moves the window on: it comes back with the last one, and gets what follows. The
window chooses the id of what it says: a message that is published twice, because nobody knows whether
the first time worked, is still shown once.
"""

from __future__ import annotations

import re
import time
from typing import Annotated, Any, Literal

import msgspec

from gapless import Event, Gap

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


class Message(msgspec.Struct, frozen=True):
    """A message as it is published and kept."""

    id: str
    room: str
    author: str
    text: str
    sent_at_ms: int


class Posted(msgspec.Struct, frozen=True, tag_field="kind", tag="message"):
    """A message in its place, as it was published; `cursor` is where a window stands that has it."""

    message: msgspec.Raw
    cursor: str | None


class Missing(msgspec.Struct, frozen=True, tag_field="kind", tag="gap"):
    """Stands where messages are missing; `reason` and `lost` are those of `gapless.Gap`."""

    reason: str
    lost: int | None
    cursor: str | None


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
    """The first thing a window gets.

    Attributes:
        place: `newest`: the window is new, and `items` begin with the newest messages. `resumed`: they are
            what it has missed. `unknown`: its cursor says nothing about this room, so it gets the newest.
        items: What was said before now, oldest first; what follows comes live.
        cursor: Where the window stands when it has the items.
        keeps: Messages that a room keeps.
        can_hold: Whether a cut of the Redis connection can be held.
    """

    room: str
    rooms: list[Room]
    place: Literal["newest", "resumed", "unknown"]
    items: list[Posted | Missing]
    cursor: str | None
    redis: RedisStatus
    keeps: int
    can_hold: bool


class Problem(msgspec.Struct, frozen=True, tag_field="kind", tag="error"):
    """Only for the window that caused it; `id` names its message, where there is one."""

    text: str
    id: str | None = None


class Work(msgspec.Struct, frozen=True):
    """What a worker does while the web server is down."""

    room: str
    messages: Annotated[int, msgspec.Meta(ge=1, le=500)]


def placed(item: Event | Gap, cursor: str | None) -> Posted | Missing:
    """Return an item of a room as a window gets it; a message is not decoded for that."""
    if isinstance(item, Event):
        return Posted(msgspec.Raw(item.data), cursor)
    return Missing(item.reason, item.lost, cursor)


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
