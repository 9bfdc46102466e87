"""From a backend to the async generators that consume its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any, Self, TypeVar

from gapless._core.backlog import Backlog
from gapless._core.entries import mark_id
from gapless._core.event import Event, Gap
from gapless._core.item import Item
from gapless._core.reads import Refill
from gapless._core.refused import Span
from gapless._waiter import Waiter, done_future, resume

# After so many events a consumer lets the event loop run, also if its loop body never awaits.
BURST_EVENTS = 128

Item_ = TypeVar("Item_")
NoteGaps = Callable[[list[Gap]], None]
Refills = Callable[[Refill], None]
ItemsOf = Callable[["Seat"], AsyncGenerator[Item_, None]]


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
            if backlog.may_catch_up or (self.closed and backlog.behind):
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
                # Not that of who came here after this one had been given up.
                if self.waiter is waiter:
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
            self.inboxes.remove(inbox)
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


class Stream(AsyncGenerator[Item_, None]):
    """The async generator of one consumer.

    A generator that a loop was broken out of is closed by the event loop only some ticks after it was
    dropped. Its inbox must be free at once, for the consumer that comes next; so this object, which is
    dropped at once, leaves it.
    """

    # A slot: `async for` finds the generator's own __anext__ here, without a Python call per event.
    __slots__ = ("__anext__", "_items", "_seat")

    def __init__(self, delivery: Callable[[], Delivery], items: ItemsOf[Item_]) -> None:
        self._seat = Seat(delivery)
        self._items = items(self._seat)
        self.__anext__ = self._items.__anext__  # type: ignore[method-assign]

    def __aiter__(self) -> Self:
        return self

    def asend(self, value: None) -> Any:
        return self._items.asend(value)

    def athrow(self, *error: Any) -> Any:
        return self._items.athrow(*error)

    async def aclose(self) -> None:
        await self._items.aclose()
        self._seat.leave()

    def __del__(self) -> None:
        self._seat.leave()


class Seat:
    """A consumer's place: taken when iteration starts, left once."""

    __slots__ = ("_consumers", "_delivery", "_inbox")

    def __init__(self, delivery: Callable[[], Delivery]) -> None:
        self._delivery = delivery
        self._consumers: Delivery | None = None
        self._inbox: Inbox | None = None

    def take(self) -> Inbox:
        self._consumers = self._delivery()
        self._inbox = self._consumers.occupy()
        return self._inbox

    def leave(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None and self._consumers is not None:
            self._consumers.vacate(inbox)


def _nothing_to_read(refill: Refill) -> None:
    """Without a history there are no spans."""
    refill.done(None)


# Two loops, and not one that the other is made of: each event passes here.


async def payloads(seat: Seat) -> AsyncGenerator[tuple[str, bytes], None]:
    """Yield channel and payload of each event."""
    inbox = seat.take()
    backlog = inbox.backlog
    popleft = backlog.items.popleft
    try:
        while await inbox.ready():
            for _ in range(min(len(backlog.items), BURST_EVENTS)):
                subscription, data, _id = popleft()
                if data is not None:
                    backlog.size_bytes -= len(data)
                    # Not what was buffered when its channel was unsubscribed.
                    if subscription.wanted:
                        yield subscription.channel, data
            if backlog.items:
                await asyncio.sleep(0)
    finally:
        seat.leave()


async def events(seat: Seat) -> AsyncGenerator[Event | Gap, None]:
    """Yield each event, and each gap in its place."""
    inbox = seat.take()
    backlog = inbox.backlog
    try:
        while await inbox.ready():
            for _ in range(min(len(backlog.items), BURST_EVENTS)):
                item = backlog.items.popleft()
                if item[1] is not None:
                    backlog.size_bytes -= len(item[1])
                if not item[0].wanted:
                    continue
                if item[1] is None:
                    yield item[2]
                else:
                    yield Event(item[0].channel, item[1], mark_id(item[2]) if item[2] else None)
            if backlog.items:
                await asyncio.sleep(0)
    finally:
        seat.leave()
