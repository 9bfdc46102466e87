"""The live events of one channel that its subscribers have not all taken, and where each of them is.

One log per channel and not one queue per subscriber: an event is stored once, however many take it, and a
subscriber costs a number. Entries that everybody has taken are dropped when there are twice as many as were
needed, so that an event, as a rule, costs no look at the subscribers. `reader.py` is a subscriber's place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, Protocol

from gapless._core.cursor import digest
from gapless._core.event import Event, Gap
from gapless._core.history import id_key

BACKWARDS = frozenset({"rollback", "reset", "restart"})

# What nobody needs any more is looked for after so many more entries or bytes, or as many as were needed
# then.
SPARE_ENTRIES = 64
SPARE_BYTES = 256 * 1024


def is_backwards(item: Event | Gap) -> bool:
    """Return whether ids of events after `item` may be lower than those before it."""
    return isinstance(item, Gap) and item.reason in BACKWARDS


class Entry:
    """An event or a gap in a log.

    Attributes:
        item: The event or the gap.
        order: Its number among all items of the hub; 0 if it was read from the history.
        before_bytes: Bytes of payloads that were ever in the log before it.
        reached: Where a subscriber stands that has it; None if that is where it stood before.
        frames: What transports have made of it: made once for all subscribers.
    """

    __slots__ = ("before_bytes", "frames", "item", "order", "reached")

    def __init__(
        self, item: Event | Gap, *, order: int = 0, before_bytes: int = 0, reached: str | None = None
    ) -> None:
        self.item = item
        self.order = order
        self.before_bytes = before_bytes
        self.reached = item.id if isinstance(item, Event) else reached
        self.frames: Any = None


class Lost:
    """Counts events that are passed over; a gap among them may make their number unknown."""

    __slots__ = ("events", "unknown")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.events = 0
        self.unknown = 0
        for entry in entries:
            self.add(entry.item)

    def add(self, item: Event | Gap) -> None:
        if isinstance(item, Event):
            self.events += 1
        elif item.lost is None:
            self.unknown += 1
        else:
            self.events += item.lost

    def plus(self, other: Lost, times: int = 1) -> Lost:
        total = Lost()
        total.events = self.events + times * other.events
        total.unknown = self.unknown + times * other.unknown
        return total

    def gap(self, channel: str) -> Gap:
        return Gap(channel, None, "backlog", None if self.unknown else self.events)


class Place(Protocol):
    """Where somebody is in a log: what a `Reader` is to it."""

    owner: Any
    attached: bool
    position: int
    max_events: int
    max_bytes: int

    @property
    def bounded(self) -> bool:
        """Whether the log has to look at it in time."""
        ...

    def check(self) -> None:
        """If more waits than may, do something about it."""


class Hold(Protocol):
    """What keeps a log's entries from `start` on: what a `Replay` is to it."""

    start: int


class Log:
    """Entries by number, from the oldest that somebody needs on.

    Attributes:
        entries: Those that are kept.
        start: Number of the first of them.
        end: Number of the next entry.
        end_bytes: Bytes of payloads that were ever in it.
        totals: What was ever in it.
        last: The newest item, also if it is dropped already.
        readers: Those that have a place in it.
        owners: Owners of a reader of this log alone: each entry wakes them.
        waiting: Other readers, whose owners wait for the next entry; whoever appends takes them out.
        disconnected: Readers whose policy has just ended them; whoever appends takes them out.
    """

    __slots__ = (
        "_floor", "_holds", "_scan_at", "_scan_at_bytes",
        "channel", "digest", "disconnected", "end", "end_bytes", "entries", "last", "owners", "position",
        "readers", "start", "totals", "waiting",
    )  # fmt: skip

    def __init__(self, channel: str) -> None:
        self.channel = channel
        # What stands for the channel in cursors.
        self.digest = digest(channel)
        self.entries: list[Entry] = []
        self.start = 0
        self.end = 0
        self.end_bytes = 0
        self.totals = Lost()
        self.last: Event | Gap | None = None
        # Where somebody stands who has everything up to now; None if that is unknown.
        self.position: str | None = None
        self._floor: tuple[int, int] | None = None
        self.readers: dict[Place, None] = {}
        self._holds: dict[Hold, None] = {}
        self.waiting: dict[Place, None] = {}
        self.owners: dict[Any, None] = {}
        self.disconnected: list[Place] = []
        self._scan_at = SPARE_ENTRIES
        self._scan_at_bytes = SPARE_BYTES

    def __len__(self) -> int:
        return len(self.entries)

    def begin(self, position: str | None) -> None:
        """The channel is subscribed, and stood at `position` a moment later; before there are readers.

        What was published before that is not live, though it may still arrive.
        """
        self.position = position
        self.last = None
        self._floor = None if position is None else id_key(position.partition("@")[0])
        entries, self.entries = self.entries, []
        self.start = self.end
        for entry in entries:
            self.append(entry.item, entry.order)

    def append(self, item: Event | Gap, order: int) -> None:
        """Append an item, unless it is older than the log."""
        if self._floor is not None and self._is_old(item):
            return
        entry = Entry(item, order=order, before_bytes=self.end_bytes)
        self.entries.append(entry)
        self.last = item
        self.end += 1
        self.totals.add(item)
        if isinstance(item, Event):
            self.end_bytes += len(item.data)
            self.position = item.id
        if self.end >= self._scan_at or self.end_bytes >= self._scan_at_bytes:
            self._scan()

    def slice(self, position: int, limit: int | None = None) -> list[Entry]:
        """Return the entries from `position` on, `limit` at most."""
        start = position - self.start
        return self.entries[start:] if limit is None else self.entries[start : start + limit]

    def bytes_before(self, position: int) -> int:
        """Return the bytes that were ever in the log before the entry `position`."""
        return self.end_bytes if position == self.end else self.entries[position - self.start].before_bytes

    def fitting(self, position: int, max_bytes: int) -> int:
        """Return the first number from `position` on that `max_bytes` at most follow, or the last one."""
        found = self.start + bisect_left(
            self.entries,
            self.end_bytes - max_bytes,
            lo=position - self.start,
            key=lambda entry: entry.before_bytes,
        )
        return max(position, min(found, self.end - 1))

    def attach(self, reader: Place) -> None:
        """Keep what `reader` needs from now on."""
        self.readers[reader] = None
        self.expect(reader)

    def expect(self, reader: Place) -> None:
        """Look at `reader` as soon as it is behind by more than it may be."""
        if reader.bounded:
            self._scan_at = min(self._scan_at, reader.position + reader.max_events + 1)
            self._scan_at_bytes = min(
                self._scan_at_bytes, self.bytes_before(reader.position) + reader.max_bytes + 1
            )

    def detach(self, reader: Place) -> None:
        """Keep nothing for `reader` any more, and do not wake its owner."""
        self.readers.pop(reader, None)
        self.waiting.pop(reader, None)

    def hold(self, replay: Hold) -> None:
        """Keep what comes from now on, until `release()`."""
        self._holds[replay] = None

    def release(self, replay: Hold) -> None:
        self._holds.pop(replay, None)

    def _is_old(self, item: Event | Gap) -> bool:
        if isinstance(item, Gap):
            if is_backwards(item):
                self._floor = None
            return False
        if self._floor is not None and item.id is not None and id_key(item.id) <= self._floor:
            return True
        # Whatever follows is newer.
        self._floor = None
        return False

    def _scan(self) -> None:
        """Let each reader that is too far behind do what its policy says, and drop what nobody needs."""
        for reader in self.readers:
            reader.check()
        needed = min((reader.position for reader in self.readers if reader.attached), default=self.end)
        needed = min(needed, min((replay.start for replay in self._holds), default=self.end))
        del self.entries[: needed - self.start]
        self.start = needed
        self._scan_at = self.end + max(SPARE_ENTRIES, len(self.entries))
        self._scan_at_bytes = self.end_bytes + max(SPARE_BYTES, self.end_bytes - self.bytes_before(needed))
        for reader in self.readers:
            self.expect(reader)
