"""What a consumer iterates over: `stream_events()` and `events()` of a backend."""

from __future__ import annotations

import asyncio
import sys
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

    Not an async generator: that costs more per event, and the event loop closes one only some ticks after it
    was dropped, while its inbox has to be free at once for the next consumer. As one, it ends with an
    `anext()` that is cancelled, and with its event loop.

    Args:
        find_delivery: Is called at the first `anext()`.
    """

    __slots__ = (
        "__weakref__",
        "_backlog",
        "_closed",
        "_delivery",
        "_find_delivery",
        "_inbox",
        "_left",
        "_popleft",
        "_waiting",
    )

    def __init__(self, find_delivery: Callable[[], Delivery]) -> None:
        self._find_delivery = find_delivery
        self._delivery: Delivery | None = None
        self._inbox: Inbox | None = None
        self._closed = False
        # So many items can be taken before the event loop has to run.
        self._left = 0
        self._waiting = False

    def __aiter__(self) -> Self:
        return self

    async def asend(self, value: None) -> Item_:  # noqa: ARG002 (a generator's method)
        return await self.__anext__()

    async def athrow(self, typ: Any, val: Any = None, tb: object = None) -> NoReturn:  # noqa: ARG002
        if self._waiting:
            raise _in_use("athrow()")
        self._leave()
        try:
            if isinstance(val, BaseException):
                raise val
            raise typ if val is None else typ(val)
        finally:
            del self, typ, val  # the error has this frame in its traceback

    async def aclose(self) -> None:
        """End the iteration.

        Raises:
            RuntimeError: A task waits for the next event.
        """
        if self._waiting:
            raise _in_use("aclose()")
        self._leave()

    def __del__(self) -> None:
        self._leave()

    async def _next_burst(self) -> None:
        """Wait until there is something to take; `_left` says how much, for now.

        Raises:
            RuntimeError: Another task waits here.
            StopAsyncIteration: There will be nothing any more.
        """
        if self._waiting:
            raise _in_use("anext()")
        self._waiting = True
        try:
            inbox = self._inbox
            if inbox is None:
                inbox = self._occupy()
            elif inbox.backlog.items:
                await asyncio.sleep(0)
            if not await inbox.ready():
                raise StopAsyncIteration
        except BaseException:
            self._leave()
            raise
        finally:
            self._waiting = False
        self._left = min(len(inbox.backlog.items), BURST_EVENTS)

    def _occupy(self) -> Inbox:
        if self._closed:
            raise StopAsyncIteration
        self._delivery = self._find_delivery()
        self._inbox = inbox = self._delivery.occupy()
        self._backlog = inbox.backlog
        self._popleft = inbox.backlog.items.popleft
        # Has the event loop close this at its end.
        begin = sys.get_asyncgen_hooks().firstiter
        if begin is not None:
            begin(self)
        return inbox

    def _leave(self) -> None:
        self._closed = True
        self._left = 0
        inbox, self._inbox = self._inbox, None
        if inbox is not None and self._delivery is not None:
            # What is left in it is not for this one.
            del self._backlog, self._popleft
            self._delivery.vacate(inbox)
            self._delivery = None


def _in_use(method: str) -> RuntimeError:
    return RuntimeError(
        f"{method}: another task waits for the next event here already; each task needs its own"
    )


# Two classes with much the same method, and not one method that asks: each event passes here.


class Payloads(Stream[tuple[str, bytes]]):
    """Channel and payload of each event."""

    __slots__ = ()

    async def __anext__(self) -> tuple[str, bytes]:
        while True:
            if not self._left:
                await self._next_burst()
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
                await self._next_burst()
            self._left -= 1
            item = self._popleft()
            if item[1] is None:
                if item[0].wanted:
                    return item[2]
            else:
                self._backlog.size_bytes -= len(item[1])
                if item[0].wanted:
                    return Event(item[0].channel, item[1], mark_id(item[2]) if item[2] else None)
