"""How a subscriber takes entries from the logs of its channels, and waits for more."""

from __future__ import annotations

import types
from collections.abc import Generator, Sequence
from itertools import islice
from operator import attrgetter, length_hint
from typing import Any

from gapless._core.event import Event, Gap
from gapless._core.log import Entry
from gapless._core.reader import Reader
from gapless.hub.waiter import SubscriberWaiter

ALL = 1 << 62

# `async for` takes so many entries out of the backlog at once.
BITE = 32

NOTHING: list[Entry] = []
EMPTY_HAND = iter(NOTHING)
next(EMPTY_HAND, None)
item_of = attrgetter("item")
_order = attrgetter("order")


class Inbox(SubscriberWaiter):
    """The readers of one subscriber, what was taken from them, and the task that waits for more.

    Every reader is in one of three places: in `_ready`, if something may wait for it; registered with its
    log, to be put there by the next event; or waiting for a read of the history. Where there is one reader
    only, nobody has to be told which it is: this object itself is registered with the log, once and for all.

    There may be a hundred thousand of these: each attribute costs.

    Attributes:
        opening: While it is: reads that fail are told then, and not tried again.
    """

    __slots__ = (
        "_delivered", "_error", "_folded", "_hand", "_live", "_readers", "_reading", "_ready", "_single",
        "_taken", "opening",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.opening = False
        # Whether more can come.
        self._live = False
        self._readers: tuple[Reader, ...] = ()
        # The only one, if there is only one; else those that something may wait for.
        self._single: Reader | None = None
        self._ready: list[Reader] | None = None
        # How many wait for a read, and what the last of these has failed with.
        self._reading = 0
        self._error: Exception | None = None
        # Entries that were taken, ever.
        self._delivered = 0
        # What was taken last; the rest of it, which was not handed on; how much the readers know was.
        self._taken = NOTHING
        self._hand = EMPTY_HAND
        self._folded = 0

    def _begin(self, readers: Sequence[Reader]) -> None:
        """Take from these readers; those that are not attached wait for a read."""
        self._live = True
        self._readers = tuple(readers)
        self._reading = sum(not reader.attached for reader in readers)
        if len(readers) == 1:
            self._single = readers[0]
            self._single.log.owners[self] = None
        else:
            self._ready = [reader for reader in readers if reader.attached]

    # Not an asynchronous generator, which would cost twice the memory, and a raised StopIteration per event.
    @types.coroutine
    def __anext__(self) -> Generator[Any, None, Event | Gap]:
        """Return the next event, or a Gap where some are missing."""
        while True:
            for entry in self._hand:
                return entry.item
            reader = self._single
            if reader is not None and reader.plain and not self._taken:
                # What `_take()` would do if one event waits, or none: the cost of a delivery is here.
                log = reader.log
                waiting = log.end - reader.position
                if waiting == 1:
                    entry = log.entries[-1]
                    reader.position = log.end
                    if entry.reached is not None:
                        reader.reached = entry.reached
                    self._delivered += 1
                    return entry.item
                if waiting:
                    self._take(BITE)
                    continue
            elif self._take(BITE):
                continue
            elif not self._live:
                self._check_opened()
                raise StopAsyncIteration
            if self.callback is not None:
                self._refuse()
            self._asyncio_future_blocking = True
            yield self

    def _take(self, limit: int) -> list[Entry]:
        """Return what is to be handed on, in order; if there is nothing, see to it that this is woken."""
        taken = self._taken
        reader = self._single
        if taken:
            if length_hint(self._hand):
                # The caller went away from what it had asked for.
                self._fold()
                return self._hold(self._rest)
            reached = taken[-1].reached
            if reader is not None and reached is not None:
                reader.reached = reached
            else:
                self._fold()
            self._taken = NOTHING
            self._hand = EMPTY_HAND
            self._folded = 0
        if reader is not None and reader.plain:
            # The hot path: what `Reader.take()` does for a reader that is live.
            log = reader.log
            position = reader.position
            if position == log.end:
                return NOTHING
            start = position - log.start
            entries = log.entries[start : start + limit]
            reader.position = position + len(entries)
        else:
            entries = self._take_all() if reader is None else reader.take(limit)
            if not entries:
                if self._live:
                    self._register()
                return NOTHING
        self._taken = entries
        self._hand = iter(entries)
        self._delivered += len(entries)
        return entries

    def _hold(self, entries: list[Entry]) -> list[Entry]:
        """Have these, which were taken, as what is to be handed on."""
        self._taken = entries
        self._hand = iter(entries)
        self._folded = 0
        return entries

    def _next(self, limit: int) -> Entry | None:
        """Hand on the next entry; if none is in the hand, take so many at most. None if nothing waits."""
        for entry in self._hand:
            return entry
        return self._next(limit) if self._take(limit) else None

    def advance(self, count: int = 1) -> None:
        """So many more entries were handed on; no more than there are in the hand."""
        # Moves the iterator on without a loop in Python.
        next(islice(self._hand, count, count), None)

    @property
    def _in_hand(self) -> int:
        """Entries that were taken and not handed on."""
        return length_hint(self._hand)

    @property
    def _rest(self) -> list[Entry]:
        """These entries."""
        return self._taken[len(self._taken) - self._in_hand :]

    def _fold(self) -> None:
        """Let the readers know what was handed on."""
        taken = self._taken
        at = len(taken) - self._in_hand
        if self._single is not None and at == len(taken) and taken and taken[-1].reached is not None:
            self._single.reached = taken[-1].reached
        elif self._folded < at:
            handed_on = taken[self._folded : at]
            reached = {entry.item.channel: entry.reached for entry in handed_on if entry.reached is not None}
            for reader in self._readers:
                reader.reached = reached.get(reader.log.channel, reader.reached)
        self._folded = at

    def _finish(self) -> None:
        """Take nothing any more but what waits now."""
        rest = self._rest
        rest += self._take_all() if self._single is None else self._single.take(ALL)
        self._drop()
        self._delivered += len(rest)
        self._hold(rest)

    def _leave_out(self, names: frozenset[str]) -> None:
        """Hand on nothing of these channels any more."""
        self._fold()
        rest = self._rest
        kept = [entry for entry in rest if entry.item.channel not in names]
        self._delivered -= len(rest) - len(kept)
        self._hold(kept)

    def _drop(self) -> None:
        """Take nothing any more."""
        self._fold()
        self._delivered -= self._in_hand
        self._live = False
        for reader in self._readers:
            reader.log.owners.pop(self, None)
            reader.close()
        self._single = None
        self._ready = None
        self._hold(NOTHING)

    def _check_opened(self) -> object:
        """Raise if this was not opened."""
        raise NotImplementedError

    def _want(self, reader: Reader) -> None:
        """Have the history read for a reader whose `after` says so."""
        raise NotImplementedError

    # Called by whoever has something.

    def woken(self, reader: Reader) -> None:
        """There is something for one of several readers: it is not registered any more."""
        if self._ready is not None:
            self._ready.append(reader)

    def joined(self, reader: Reader) -> None:
        """A reader has what it wanted to read."""
        self._reading -= 1
        self.woken(reader)

    def failed(self, error: Exception) -> None:
        """What a reader wanted could not be read."""
        self._reading -= 1
        self._error = error

    def _take_all(self) -> list[Entry]:
        ready = self._ready or ()
        taken: list[Entry] = []
        for reader in ready:
            taken += reader.take(ALL)
        if len(ready) > 1:
            # In the order in which they came, across channels.
            taken.sort(key=_order)
        return taken

    def _register(self) -> None:
        """Nothing waits: be woken by what comes next, or read on."""
        if self._single is not None:
            if self._single.after is not None and not self._reading:
                self._reading += 1
                self._want(self._single)
            return
        for reader in self._ready or ():
            if reader.after is None:
                reader.log.waiting[reader] = None
            else:
                self._reading += 1
                self._want(reader)
        self._ready = []
