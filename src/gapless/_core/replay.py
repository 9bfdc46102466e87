"""One read of a channel's history, for all subscribers that go on from the same place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gapless._core.event import Event, Gap
from gapless._core.log import Entry, Log

# So many events are read at once, or as many as have so many bytes of payloads, and one at least.
PAGE_EVENTS = 1024
PAGE_BYTES = 1024 * 1024


class Replay:
    """A read, from its begin to the moment when its readers go on live.

    It begins when the channel is subscribed, and the log keeps what comes from then on: what the read does
    not find was published after it and is in the log. While the server is away, and it is tried again and
    again, the log need not keep what comes meanwhile.

    Args:
        log: The log of the channel.
        after: Where the readers are; None if they want the newest `limit` events.
        limit: Events to read at most.

    Attributes:
        start: Number of the log's first entry that may not have been found.
        readers: Who waits for it.
        entries: What was found.
        position: After `found()`: where the readers are when they have taken that.
        after: After `found()`: where to go on reading; None if this was all.
    """

    __slots__ = ("after", "entries", "limit", "log", "position", "readers", "start")

    def __init__(self, log: Log, after: str | None, limit: int = PAGE_EVENTS) -> None:
        self.log = log
        self.after = after
        self.limit = limit
        self.begin()
        self.position = after
        self.readers: dict[Any, None] = {}
        self.entries: list[Entry] = []
        log.hold(self)

    def begin(self) -> None:
        """It is read now: what came until now will be found. Called again when it is tried again."""
        self.start: int = self.log.end

    def found(self, items: Sequence[Event | Gap], position: str | None = None) -> None:
        """Take what the history has.

        Args:
            items: What was read.
            position: Where the channel stood before the read; given if a gap is the last of `items`.
        """
        self.entries = [Entry(item) for item in items]
        last = items[-1] if items else None
        if isinstance(last, Gap):
            # The `after` of a restart at the end is a position without it.
            self.entries[-1].reached = last.after if last.reason == "restart" else position
        self.position = next((e.reached for e in reversed(self.entries) if e.reached), self.after)
        events = [item for item in items if isinstance(item, Event)]
        is_page = len(events) >= self.limit or sum(len(event.data) for event in events) >= PAGE_BYTES
        self.after = events[-1].id if self.after is not None and is_page else None

    def end(self) -> None:
        """Nobody waits for it any more."""
        self.log.release(self)
