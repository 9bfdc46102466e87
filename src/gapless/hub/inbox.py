"""How a subscriber takes entries from the logs of its channels, and waits for more."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from gapless._core.log import Entry
from gapless._core.reader import Reader
from gapless.hub.waiter import Waiter

ALL = 1 << 62
NOTHING: list[Entry] = []
_order = attrgetter("order")


class Inbox(Waiter):
    """The readers of one subscriber, what was taken from them, and the task that waits for more.

    Every reader is in one of three places: in `_ready`, if something may wait for it; registered with its
    log, to be put there by the next event; or waiting for a read of the history. Where there is one reader
    only, nobody has to be told which it is: not the reader, but this object itself is registered with the
    log.

    There may be a hundred thousand of these: each attribute costs.

    Attributes:
        opening: While it is: reads that fail are told then, and not tried again.
    """

    __slots__ = (
        "_at", "_delivered", "_error", "_folded", "_live", "_readers", "_reading", "_ready", "_single",
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
        # What `take()` has returned; how much of it was handed on; how much of that the readers know.
        self._taken = NOTHING
        self._at = 0
        self._folded = 0

    def _begin(self, readers: Sequence[Reader]) -> None:
        """Take from these readers; those that are not attached wait for a read."""
        self._live = True
        self._readers = tuple(readers)
        self._reading = sum(not reader.attached for reader in readers)
        if len(readers) == 1:
            self._single = readers[0]
        else:
            self._ready = [reader for reader in readers if reader.attached]

    def _take(self, limit: int) -> list[Entry]:
        """Return what is to be handed on, in order; if there is nothing, see to it that this is woken."""
        taken = self._taken
        reader = self._single
        if taken:
            if self._at < len(taken):
                # The caller went away from what it had asked for.
                self._fold()
                rest = self._taken = taken[self._at :]
                self._at = self._folded = 0
                return rest
            reached = taken[-1].reached
            if reader is not None and reached is not None:
                reader.reached = reached
            else:
                self._fold()
            self._taken = NOTHING
            self._at = self._folded = 0
        if reader is not None and reader.plain:
            # The hot path: what `Reader.take()` does for a reader that is live.
            log = reader.log
            position = reader.position
            if position == log.end:
                log.waiters[self] = None
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
        self._delivered += len(entries)
        return entries

    def advance(self, count: int = 1) -> None:
        """So many more entries were handed on."""
        self._at += count

    @property
    def _in_hand(self) -> int:
        """Entries that were taken and not handed on."""
        return len(self._taken) - self._at

    def _fold(self) -> None:
        """Let the readers know what was handed on."""
        taken = self._taken
        if self._single is not None and self._at == len(taken) and taken and taken[-1].reached is not None:
            self._single.reached = taken[-1].reached
        elif self._folded < self._at:
            handed_on = taken[self._folded : self._at]
            reached = {entry.item.channel: entry.reached for entry in handed_on if entry.reached is not None}
            for reader in self._readers:
                reader.reached = reached.get(reader.log.channel, reader.reached)
        self._folded = self._at

    def _finish(self) -> None:
        """Take nothing any more but what waits now."""
        rest = self._taken[self._at :]
        self._fold()
        rest += self._take_all() if self._single is None else self._single.take(ALL)
        self._delivered += len(rest) - self._in_hand
        self._drop()
        self._taken = rest

    def _drop(self) -> None:
        """Take nothing any more."""
        self._fold()
        self._live = False
        for reader in self._readers:
            reader.log.waiters.pop(self, None)
            reader.close()
        self._single = None
        self._ready = None
        self._taken = NOTHING
        self._at = self._folded = 0

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
            if self._single.after is None:
                self._single.log.waiters[self] = None
            elif not self._reading:
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
