"""What is pushed, what a read of the stream finds, and what comes of both.

A mark is an entry id after the letter g, as frames have it; `NOTHING` is the mark before the first entry.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gapless._core.event import Gap, GapReason
from gapless._core.history import find_gap, id_key

NOTHING = b"g-"

# In the place of somebody else's value in the key of a channel's last id: not known, which is not nothing. No
# entry has this id. publish_stream.lua has the same.
UNREADABLE = b"0-1"

# Of fewer digits than the largest that a server has.
_ID = re.compile(rb"\d{1,19}-\d{1,19}", re.ASCII)

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
        if first.previous != NOTHING or self.length >= kept.history:
            return False
        if born_ms is None:
            return kept.ttl_ms is None
        # One that is older was there before, and it was the key with the last id that had gone.
        age_ms = id_key(first.id.decode())[0] - born_ms
        return age_ms >= 0 and (kept.ttl_ms is None or age_ms < kept.ttl_ms)

    def gap_after(self, base: bytes) -> GapReason | None:
        """Why something may be missing between the entry that `base` marks and these; None if nothing is."""
        first = self.entries[0] if self.entries else None
        return find_gap(
            base[1:].decode(),
            first_id=decoded(first.id if first else None),
            oldest_id=decoded(self.oldest),
            last_id=decoded(self.last),
            before_first=id_of(first.previous if first else None),
        )


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
    """Whether an entry comes after another one, or after nothing."""
    return than == NOTHING or id_key(mark[1:].decode()) > id_key(than[1:].decode())


def readable(last_id: bytes | None) -> bytes | None:
    """Return what the key of a channel's last id holds; UNREADABLE if that is no id."""
    return last_id if last_id is None or _ID.fullmatch(last_id) else UNREADABLE


def mark_of(last_id: bytes | None) -> bytes | None:
    """Return the mark of a channel's last id, None if that can't be read."""
    return NOTHING if last_id is None else b"g" + last_id if last_id != UNREADABLE else None
