"""What is pushed, what a read of the stream finds, and what comes of both.

A mark is an entry id after the letter g, as frames have it; `NOTHING` is the mark before the first entry.
"""

from __future__ import annotations

from typing import NamedTuple

from gapless._core.event import Gap
from gapless._core.history import id_key

NOTHING = b"g-"

# Payload and mark of an event to deliver, or None and the Gap that stands in the place of events.
Output = tuple[bytes, bytes] | tuple[None, Gap]


class Push(NamedTuple):
    """A pushed frame. `data` is None if it was pushed by reference: the stream has it."""

    mark: bytes
    previous: bytes
    data: bytes | None


class Entry(NamedTuple):
    """An entry of the stream.

    server: Which server appended it; previous: the mark of the channel's last entry then, which outlives the
    entry. None if it does not say.
    """

    id: bytes
    data: bytes
    server: bytes | None
    previous: bytes | None = None


class Entries(NamedTuple):
    """What a read of the stream found.

    entries: From our last entry on, that one included if it is kept; oldest first.
    oldest: Id of the oldest kept entry. last: the channel's last id, which outlives the entries.
    more: The read was cut: there are entries after these. length: Number of all kept entries.
    server: Who answered, in the form of `Entry.server`.
    """

    entries: list[Entry]
    oldest: bytes | None
    last: bytes | None
    more: bool
    length: int
    server: bytes | None

    def is_whole(self, kept: Kept, born_ms: int | None) -> bool:
        """Whether these are all since `born_ms`, when there was none: nothing was trimmed or has expired."""
        if not self.entries:
            return self.last is None
        first = self.entries[0]
        # The length tells where the key with the last id was lost, by which an entry knows the one before it.
        whole = first.previous == NOTHING and self.length < kept.history
        if whole and kept.ttl_ms is not None:
            whole = born_ms is not None and 0 <= id_key(first.id.decode())[0] - born_ms < kept.ttl_ms
        return whole


class Kept(NamedTuple):
    """How much the publishers keep: entries for each channel, and a stream's time to live in ms."""

    history: int
    ttl_ms: int | None


def mark_id(mark: bytes) -> str:
    """Return the id in a mark. Ours are ASCII; another publisher on the channel must not end a stream."""
    return mark[1:].decode("ascii", "replace")


def id_of(mark: bytes | None) -> str | None:
    """Return the id in a mark, None if it stands for no entry."""
    return None if mark is None or mark == NOTHING else mark_id(mark)


def decoded(entry_id: bytes | None) -> str | None:
    return None if entry_id is None else entry_id.decode()


def is_newer(mark: bytes, than: bytes) -> bool:
    """Whether an entry comes after another one, or after nothing. What has no id is never newer."""
    try:
        key = id_key(mark[1:].decode())
    except ValueError:  # somebody else's
        return False
    return than == NOTHING or key > id_key(than[1:].decode())
