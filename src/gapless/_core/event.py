"""What a consumer sees: an event, or a gap where events are missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GapReason = Literal["trimmed", "rollback", "reset", "restart", "disconnected", "backlog"]


@dataclass(frozen=True, slots=True)
class Event:
    """One published event.

    Attributes:
        channel: Its channel, as the publisher named it.
        data: The payload, byte for byte.
        id: Its id within the channel, or ``None`` where the backend keeps no history (Pub/Sub).
            Redis Streams: the entry id, ``"<milliseconds>-<sequence>"``.
    """

    channel: str
    data: bytes
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Events of one channel that could not be delivered; it stands in their place.

    Attributes:
        channel: The channel that they belong to.
        after: Id of the last event before the hole, or ``None`` where there are no ids, nothing
            came before, or it isn't known: it is the last event of the channel that you received.
            `read(after=)` takes it; of a Gap that `read()` returned it may be a position, not an id.
        reason: ``disconnected``: the connection was down. ``backlog``: the consumer was slower than
            the publishers for longer than its queue, and the history if there is one, could hold.
            ``trimmed``: the history no longer reaches back far enough. ``rollback``, ``reset``,
            ``restart``: the server lost data, or may have.
        lost: How many events, or ``None`` if that can't be known: perhaps none at all, since a gap
            says that a loss can't be excluded.
    """

    channel: str
    after: str | None
    reason: GapReason
    lost: int | None = None
