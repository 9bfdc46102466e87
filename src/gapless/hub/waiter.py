"""How a thousand tasks are woken for the price of one callback.

`asyncio.Future` schedules a callback of its own for every task that waits, and is used once: that is most of
what a delivery to one subscriber costs. A `Waiter` is made once per subscriber; `Wakeups` runs the steps of
all tasks that are to go on in one callback of the event loop. A future that all share would be cheap, too,
but a task that is cancelled while it waits cancels it for everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator, Iterable
from contextvars import Context
from typing import Any, NoReturn

Wakeup = Callable[[Any], object]

_NO_CONTEXT = Context()


class Waiter:
    """What one task at a time awaits, again and again; `Wakeups.wake()` lets it go on.

    Implements what a task asks of a future (`asyncio.isfuture()`, `asyncio.Task`), but for the result: who
    lets the task go on shows it a real future that is done, which it reads without a call of Python.

    Attributes:
        callback: Lets the task that waits go on; None if none waits.
        context: To run it in.
    """

    __slots__ = ("_asyncio_future_blocking", "_loop", "callback", "context")

    def __init__(self) -> None:
        # The task looks whether it is its own.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asyncio_future_blocking = True
        self.callback: Wakeup | None = None
        self.context = _NO_CONTEXT

    def __await__(self) -> Generator[Any, None, None]:
        if self.callback is not None:
            self._refuse()
        if self._loop is None:
            self._bind()
        # A generator's work without a generator's frame: hand this object to the task, and go on when called.
        return iter((self,))  # type: ignore[return-value]

    def _bind(self) -> None:
        self._loop = asyncio.get_running_loop()

    def _refuse(self) -> NoReturn:
        raise RuntimeError("another task waits for this subscriber already; each task needs its own")

    # Called by the task.

    def add_done_callback(self, callback: Wakeup, *, context: Context | None = None) -> None:
        if context is None:
            # `asyncio.wait_for()` of Python 3.11, or something else that takes this for a future.
            raise TypeError("a subscriber can only be awaited; for a time limit, use asyncio.timeout()")
        self.callback = callback
        self.context = context
        # The task has taken it back: here, it costs less than in `__await__`.
        self._asyncio_future_blocking = True

    def cancel(self, msg: object = None) -> bool:
        callback, loop = self.callback, self._loop
        if callback is None or loop is None:
            return False
        self.callback = None
        cancelled: asyncio.Future[None] = loop.create_future()
        # By its message, anyio knows a cancellation as its own.
        cancelled.cancel(msg)
        loop.call_soon(callback, cancelled, context=self.context)
        return True


class Wakeups:
    """Lets waiters go on in the next tick of the event loop, all in one callback."""

    __slots__ = ("_crowds", "_done", "_loop", "_waiters")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # What every task finds that it has waited for.
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._done.set_result(None)
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
        done = self._done
        rest = iter(waiters)
        try:
            for waiter in rest:
                callback = waiter.callback
                if callback is not None:
                    waiter.callback = None
                    # Runs the task up to where it waits again.
                    waiter.context.run(callback, done)
        except BaseException:
            # KeyboardInterrupt or SystemExit of a task: the others go on all the same.
            self.wake(rest)
            raise
