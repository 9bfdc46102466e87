"""What a task awaits where a future would cost more than the work that it waits for.

A future has the event loop call back for every task that waits: on asyncio, that was a third of what a
publish cost. Whoever lets many tasks go on at once can run their steps in one callback of the loop:
`resume()`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from contextvars import Context
from typing import Any, NoReturn

Wakeup = Callable[[Any], object]


class Waiter:
    """What one task awaits; `resume()` lets it go on.

    Implements what a task asks of a future (`asyncio.isfuture()`, `asyncio.Task`), but for the result: who
    lets the task go on shows it a real future that is done, which it reads without a call of Python.

    There is no `__init__`, which would be a call for each one: whoever makes it sets `_loop` and `callback`,
    and has it awaited at once.

    Attributes:
        callback: Lets the task that waits go on; None if none waits.
        context: To run it in.
    """

    # `_loop` is where the task looks whether it is its own loop.
    __slots__ = ("_asyncio_future_blocking", "_loop", "callback", "context")

    _loop: asyncio.AbstractEventLoop | None
    callback: Wakeup | None
    context: Context

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def wake(self, done: asyncio.Future[None]) -> None:
        """Let the task that waits go on in the next tick of the event loop, with what `done` is done with."""
        callback, self.callback = self.callback, None
        if callback is not None and self._loop is not None:
            self._loop.call_soon(callback, done, context=self.context)

    def fail(self, error: Exception) -> None:
        """Raise the error where the task waits, in the next tick of the event loop."""
        if self.callback is not None and self._loop is not None:
            failed: asyncio.Future[None] = self._loop.create_future()
            failed.set_exception(error)
            self.wake(failed)

    # Called by the task.

    def add_done_callback(self, callback: Wakeup, *, context: Context | None = None) -> None:
        if context is None:
            # `asyncio.wait_for()` of Python 3.11, or something else that takes this for a future.
            raise TypeError("this can only be awaited; for a time limit, use asyncio.timeout()")
        self.callback = callback
        self.context = context

    def cancel(self, msg: object = None) -> bool:
        if self.callback is None or self._loop is None:
            return False
        cancelled: asyncio.Future[None] = self._loop.create_future()
        # By its message, anyio knows a cancellation as its own.
        cancelled.cancel(msg)
        self.wake(cancelled)
        return True


def done_future() -> asyncio.Future[None]:
    """Return a future that is done: what tasks find that they have waited for."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


def resume(waiters: Iterable[Waiter], done: asyncio.Future[None]) -> None:
    """Run the tasks that wait, each up to where it waits again; in the next tick, if a task calls this.

    Args:
        waiters: What they wait for.
        done: What they find that they have waited for: `done_future()`.
    """
    if asyncio.current_task() is not None:
        for waiter in waiters:
            waiter.wake(done)
        return
    for waiter in waiters:
        callback = waiter.callback
        if callback is not None:
            waiter.callback = None
            try:
                waiter.context.run(callback, done)
            except BaseException as error:  # KeyboardInterrupt or SystemExit of the task
                # The event loop has to see it, whoever called this. The others go on all the same.
                asyncio.get_running_loop().call_soon(_raise, error)


def _raise(error: BaseException) -> NoReturn:
    raise error
