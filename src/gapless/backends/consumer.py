"""What a consumer iterates over: `stream_events()` and `events()` of a backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, NoReturn, Self, TypeVar

from gapless._core.entries import mark_id
from gapless._core.event import Event, Gap
from gapless.backends.delivery import Delivery, Inbox

# After so many events a consumer lets the event loop run, also if its loop body never awaits.
BURST_EVENTS = 128

Item_ = TypeVar("Item_")


class Stream(AsyncGenerator[Item_, None]):
    """What one consumer iterates over: from its first `anext()` on, it has an inbox of its own.

    It behaves as a generator does, also in that an `anext()` that is cancelled ends it. It is none because
    that costs more per event, and because its inbox has to be free for the next consumer as soon as a loop is
    broken out of: the event loop closes a generator some ticks after it was dropped.
    """

    __slots__ = ("_backlog", "_closed", "_consumers", "_delivery", "_inbox", "_left", "_popleft", "_waiting")

    def __init__(self, delivery: Callable[[], Delivery]) -> None:
        self._delivery = delivery
        self._consumers: Delivery | None = None
        self._inbox: Inbox | None = None
        self._closed = False
        # So many events can be taken before the event loop has to run.
        self._left = 0
        self._waiting = False

    def __aiter__(self) -> Self:
        return self

    async def asend(self, value: None) -> Item_:  # noqa: ARG002 (a generator's method)
        return await self.__anext__()

    async def athrow(self, typ: Any, val: Any = None, tb: object = None) -> NoReturn:  # noqa: ARG002
        await self.aclose()
        raise typ if val is None else val

    async def aclose(self) -> None:
        """End the iteration.

        Raises:
            RuntimeError: A task waits for the next event.
        """
        self._check_free("aclose()")
        self._leave()

    def __del__(self) -> None:
        self._leave()

    async def _begin(self) -> None:
        """Wait until there is something to take; `_left` says how much, for now.

        Raises:
            RuntimeError: Another task waits here.
            StopAsyncIteration: There will be nothing any more.
        """
        self._check_free("anext()")
        inbox = self._inbox or self._take()
        self._waiting = True
        try:
            if inbox.backlog.items:
                await asyncio.sleep(0)
            if not await inbox.ready():
                raise StopAsyncIteration
        except BaseException:
            self._leave()
            raise
        finally:
            self._waiting = False
        self._left = min(len(inbox.backlog.items), BURST_EVENTS)

    def _check_free(self, method: str) -> None:
        if self._waiting:
            raise RuntimeError(
                f"{method}: a task waits for an event of this generator; use one for each task"
            )

    def _take(self) -> Inbox:
        if self._closed:
            raise StopAsyncIteration
        self._consumers = self._delivery()
        self._inbox = inbox = self._consumers.occupy()
        self._backlog = inbox.backlog
        self._popleft = inbox.backlog.items.popleft
        return inbox

    def _leave(self) -> None:
        inbox, self._inbox = self._inbox, None
        self._closed = True
        self._left = 0
        if inbox is not None and self._consumers is not None:
            self._consumers.vacate(inbox)


# Two classes with much the same method, and not one method that asks: each event passes here.


class Payloads(Stream[tuple[str, bytes]]):
    """Channel and payload of each event."""

    __slots__ = ()

    async def __anext__(self) -> tuple[str, bytes]:
        while True:
            if not self._left:
                await self._begin()
            self._left -= 1
            subscription, data, _id = self._popleft()
            if data is not None:
                self._backlog.size_bytes -= len(data)
                # Not what was buffered when its channel was unsubscribed.
                if subscription.wanted:
                    return subscription.channel, data


class Events(Stream[Event | Gap]):
    """Each event, and each gap in its place."""

    __slots__ = ()

    async def __anext__(self) -> Event | Gap:
        while True:
            if not self._left:
                await self._begin()
            self._left -= 1
            item = self._popleft()
            if item[1] is None:
                if item[0].wanted:
                    return item[2]
            else:
                self._backlog.size_bytes -= len(item[1])
                if item[0].wanted:
                    return Event(item[0].channel, item[1], mark_id(item[2]) if item[2] else None)
