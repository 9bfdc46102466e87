"""From a backend to the inboxes of those who consume its events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from gapless._core.backlog import Backlog
from gapless._core.event import Gap
from gapless._core.item import Item
from gapless._core.reads import Refill
from gapless._core.refused import Span
from gapless._waiter import Waiter, done_future, resume

NoteGaps = Callable[[list[Gap]], None]
Refills = Callable[[Refill], None]


class Inbox:
    """The backlog of one consumer, which waits for it."""

    __slots__ = ("_done", "_note", "_refill", "backlog", "closed", "waiter")

    def __init__(
        self,
        *,
        max_events: int,
        max_bytes: int,
        refill: Refills | None,
        note: NoteGaps | None,
        done: asyncio.Future[None],
    ) -> None:
        self.backlog = Backlog(max_events=max_events, max_bytes=max_bytes, refillable=refill is not None)
        self.closed = False
        self._refill = refill or _nothing_to_read
        self._note = note
        self._done = done
        self.waiter: Waiter | None = None

    async def ready(self) -> bool:
        """Wait until there is something to take; False once the inbox is closed and empty."""
        backlog = self.backlog
        while True:
            if (backlog.due and backlog.has_half) or (self.closed and backlog.behind):
                self._catch_up()
            if backlog.items:
                return True
            if self.closed:
                return False
            self.waiter = waiter = Waiter()
            waiter._loop = asyncio.get_running_loop()  # noqa: SLF001 (as asyncio calls it)
            waiter.callback = None
            try:
                await waiter
            finally:
                self.waiter = None

    def _catch_up(self) -> None:
        if self.closed:
            self.backlog.give_up()
        else:
            for span in self.backlog.take_spans():
                self._refill(Refill(span, partial(self._refilled, span)))
        self.tell()

    def _refilled(self, span: Span, found: list[tuple[bytes, bytes]] | None) -> None:
        if self.closed:
            return
        self.backlog.refilled(span, found)
        self.tell()
        self.wake()

    def tell(self) -> None:
        """Tell of the gaps that came of a full queue."""
        gaps, self.backlog.gaps = self.backlog.gaps, []
        if gaps and self._note is not None:
            self._note(gaps)

    def wake(self) -> None:
        if self.waiter is not None:
            self.waiter.wake(self._done)


class Delivery:
    """The consumers of one backend in one event loop. Each gets every event.

    There is always one inbox: what arrives while nobody consumes waits for the next consumer.

    Args:
        refill: Reads what a consumer was too slow to take from the history; None where there is none.
        note: Is told of gaps that come of it.

    Attributes:
        events: How many were handed to the consumers.
    """

    def __init__(
        self, *, max_events: int, max_bytes: int, refill: Refills | None = None, note: NoteGaps | None = None
    ) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._refill = refill
        self._note = note
        self._done = done_future()
        self.events = 0
        self.inboxes: list[Inbox] = [self._new()]
        self._vacant: Inbox | None = self.inboxes[0]
        self._closed = False

    def put(self, items: list[Item], size_bytes: int) -> None:
        """Hand items, whose payloads have `size_bytes` in all, to every consumer. Never waits."""
        self.events += len(items)
        for inbox in self.inboxes:
            inbox.backlog.put(items, size_bytes)
            if inbox.backlog.gaps:
                inbox.tell()

    def wake(self) -> None:
        """Let those go on that wait for items, in the next tick of the event loop."""
        for inbox in self.inboxes:
            inbox.wake()

    def resume(self) -> None:
        """Let those go on that wait for items, in this call; if a task calls this, in the next tick."""
        resume([inbox.waiter for inbox in self.inboxes if inbox.waiter is not None], self._done)

    def close(self) -> None:
        """End every consumer's generator, after what waits was consumed."""
        self._closed = True
        for inbox in self.inboxes:
            inbox.closed = True
            inbox.wake()

    @property
    def consumers(self) -> int:
        return len(self.inboxes) - (self._vacant is not None)

    def occupy(self) -> Inbox:
        """Return the inbox of a new consumer."""
        inbox, self._vacant = self._vacant, None
        if inbox is None:
            inbox = self._new()
            inbox.closed = self._closed
            self.inboxes.append(inbox)
        return inbox

    def vacate(self, inbox: Inbox) -> None:
        """The consumer of `inbox` is gone; the last one leaves what it did not take to the next."""
        if len(self.inboxes) == 1:
            self._vacant = inbox
        else:
            # A new list: this comes at any moment, also while items are handed to all (a consumer that is
            # garbage is found by the collector).
            self.inboxes = [other for other in self.inboxes if other is not inbox]
            # What is still being read for it, nobody wants.
            inbox.closed = True

    def _new(self) -> Inbox:
        return Inbox(
            max_events=self._max_events,
            max_bytes=self._max_bytes,
            refill=self._refill,
            note=self._note,
            done=self._done,
        )


def _nothing_to_read(refill: Refill) -> None:
    """Without a history there are no spans."""
    refill.done(None)
