"""From a backend to the async generators that consume its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from gapless._core.backlog import Backlog, Item
from gapless._core.event import Event, Gap

# After so many events a consumer lets the event loop run, also if its loop body never awaits.
BURST_EVENTS = 128


class Inbox:
    """The backlog of one consumer, which waits for it."""

    __slots__ = ("_waiter", "backlog", "closed")

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self.backlog = Backlog(max_events=max_events, max_bytes=max_bytes)
        self.closed = False
        self._waiter: asyncio.Future[None] | None = None

    async def ready(self) -> bool:
        """Wait until there is something to take; False once the inbox is closed and empty."""
        while not self.backlog.waiting():
            if self.closed:
                return False
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return True

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Delivery:
    """The consumers of one backend in one event loop. Each gets every event.

    There is always one inbox: what arrives while nobody consumes waits for the next consumer.
    """

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._inboxes: list[Inbox] = [self._new()]
        self._vacant: Inbox | None = self._inboxes[0]
        self._closed = False

    def put(self, items: list[Item]) -> None:
        """Hand items to every consumer. Never waits."""
        size = 0
        for _, data, _ in items:
            if data is not None:
                size += len(data)
        for inbox in self._inboxes:
            inbox.backlog.put(items, size)
            inbox.wake()

    def close(self) -> None:
        """End every consumer's generator, after what waits was consumed."""
        self._closed = True
        for inbox in self._inboxes:
            inbox.closed = True
            inbox.wake()

    def occupy(self) -> Inbox:
        """Return the inbox of a new consumer."""
        inbox, self._vacant = self._vacant, None
        if inbox is None:
            inbox = self._new()
            inbox.closed = self._closed
            self._inboxes.append(inbox)
        return inbox

    def vacate(self, inbox: Inbox) -> None:
        """The consumer of `inbox` is gone; the last one leaves what it did not take to the next."""
        if len(self._inboxes) == 1:
            self._vacant = inbox
        else:
            self._inboxes.remove(inbox)

    def _new(self) -> Inbox:
        return Inbox(max_events=self._max_events, max_bytes=self._max_bytes)


async def stream_payloads(delivery: Callable[[], Delivery]) -> AsyncGenerator[tuple[str, bytes], None]:
    """Yield channel and payload of each event. `delivery` is asked once, when iteration starts."""
    consumers = delivery()
    inbox = consumers.occupy()
    backlog = inbox.backlog
    try:
        while await inbox.ready():
            for _ in range(min(len(backlog.items), BURST_EVENTS)):
                subscription, data, _id = backlog.items.popleft()
                if data is not None:
                    backlog.size_bytes -= len(data)
                    # Not what was buffered when its channel was unsubscribed.
                    if subscription.wanted:
                        yield subscription.channel, data
            await asyncio.sleep(0)
    finally:
        consumers.vacate(inbox)


async def stream_events(delivery: Callable[[], Delivery]) -> AsyncGenerator[Event | Gap, None]:
    """Yield each event, and each gap in its place. `delivery` is asked once, when iteration starts."""
    consumers = delivery()
    inbox = consumers.occupy()
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
                    event_id = None if item[2] is None else item[2].decode()
                    yield Event(item[0].channel, item[1], event_id)
            await asyncio.sleep(0)
    finally:
        consumers.vacate(inbox)
