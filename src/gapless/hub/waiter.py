"""How a thousand tasks are woken for the price of one callback.

`asyncio.Future` schedules a callback of its own for every task that waits, and is used once: that is most of
what a delivery to one subscriber costs. A `Waiter` is made once per subscriber; `Wakeups` runs the steps of
all tasks that are to go on in one callback of the event loop. A future that all share would be cheap, too,
but a task that is cancelled while it waits cancels it for everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from contextvars import Context
from typing import Any, cast

Wakeup = Callable[[Any], object]

_NO_CONTEXT = Context()


class Waiter:
    """What one task at a time awaits, again and again; `Wakeups.wake()` lets it go on.

    Implements what a task asks of a future (`asyncio.isfuture()`, `asyncio.Task`).

    Attributes:
        callback: Lets the task that waits go on; None if none waits.
        context: To run it in.
    """

    __slots__ = ("_asyncio_future_blocking", "_cancelled", "_loop", "callback", "context")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asyncio_future_blocking = False
        # The arguments of the CancelledError that the task is to get.
        self._cancelled: tuple[object, ...] | None = None
        self.callback: Wakeup | None = None
        self.context = _NO_CONTEXT

    def __await__(self) -> Generator[Any, None, None]:
        if self.callback is not None:
            raise RuntimeError("another task waits for this subscriber already; each task needs its own")
        # The task looks whether it is its own.
        self._loop = asyncio.get_running_loop()
        self._asyncio_future_blocking = True
        # A generator's work without a generator's frame: hand this object to the task, and go on when called.
        return cast("Generator[Any, None, None]", iter((self,)))

    # Called by the task.

    def add_done_callback(self, callback: Wakeup, *, context: Context) -> None:
        self.callback = callback
        self.context = context

    def cancel(self, msg: object = None) -> bool:
        callback = self.callback
        if callback is None:
            return False
        self.callback = None
        # By its message, anyio knows a cancellation as its own.
        self._cancelled = () if msg is None else (msg,)
        asyncio.get_running_loop().call_soon(callback, self, context=self.context)
        return True

    def result(self) -> None:
        if self._cancelled is not None:
            arguments, self._cancelled = self._cancelled, None
            raise asyncio.CancelledError(*arguments)


class Wakeups:
    """Lets waiters go on in the next tick of the event loop, all in one callback."""

    __slots__ = ("_loop", "_waiters")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiters: list[Waiter] = []

    def wake(self, waiters: Iterable[Waiter]) -> None:
        """Let those of `waiters` go on that a task waits for."""
        if not self._waiters:
            self._loop.call_soon(self._run)
        self._waiters.extend(waiters)

    def _run(self) -> None:
        waiters, self._waiters = self._waiters, []
        rest = iter(waiters)
        try:
            for waiter in rest:
                callback = waiter.callback
                if callback is not None:
                    waiter.callback = None
                    # Runs the task up to where it waits again.
                    waiter.context.run(callback, waiter)
        except BaseException:
            # KeyboardInterrupt or SystemExit of a task: the others go on all the same.
            self.wake(rest)
            raise
