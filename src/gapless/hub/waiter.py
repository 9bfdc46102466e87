"""How a thousand tasks are woken for the price of one callback.

A future for every wait of every subscriber is most of what a delivery to it costs. A `SubscriberWaiter` is
made once per subscriber; `Wakeups` runs the steps of all tasks that are to go on in one callback of the event
loop. A future that all share would be cheap, too, but a task that is cancelled while it waits cancels it for
everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Generator, Iterable
from contextvars import Context
from typing import Any, NoReturn

from gapless._waiter import Waiter, done_future, resume

_NO_CONTEXT = Context()


class SubscriberWaiter(Waiter):
    """What one task at a time awaits, again and again; `Wakeups.wake()` lets it go on."""

    __slots__ = ()

    def __init__(self) -> None:
        self._loop = None
        self._asyncio_future_blocking = False
        self.callback = None
        self.context = _NO_CONTEXT

    def __await__(self) -> Generator[Any, None, None]:
        if self.callback is not None:
            self._refuse()
        if self._loop is None:
            self._bind()
        self._asyncio_future_blocking = True
        # A generator's work without a generator's frame: hand this object to the task, and go on when called.
        return iter((self,))  # type: ignore[return-value]

    def _bind(self) -> None:
        self._loop = asyncio.get_running_loop()

    def _refuse(self) -> NoReturn:
        raise RuntimeError("another task waits for this subscriber already; each task needs its own")


class Wakeups:
    """Lets waiters go on in the next tick of the event loop, all in one callback."""

    __slots__ = ("_crowds", "_done", "_loop", "_waiters")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done = done_future()
        self._waiters: list[Waiter] = []
        self._crowds: dict[int, Collection[Waiter]] = {}

    def wake(self, waiters: Iterable[Waiter]) -> None:
        """Let those of `waiters` go on that a task waits for."""
        if not self._waiters and not self._crowds:
            self._loop.call_soon(self._run)
        self._waiters.extend(waiters)

    def wake_all(self, crowd: Collection[Waiter]) -> None:
        """The same for those who are in `crowd` then, once, however often this is said until then."""
        if crowd:
            if not self._waiters and not self._crowds:
                self._loop.call_soon(self._run)
            self._crowds[id(crowd)] = crowd

    def _run(self) -> None:
        waiters, self._waiters = self._waiters, []
        crowds, self._crowds = self._crowds, {}
        for crowd in crowds.values():
            waiters.extend(crowd)
        resume(waiters, self._done)
