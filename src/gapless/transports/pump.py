"""What every connection needs: events out, the client's leaving noticed, an end in any case."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gapless.hub import Subscriber

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# When the subscriber has ended, a client has so long to take what waits.
LAST_SECONDS = 5.0


class Pump:
    """Serves one client from one subscriber, with one task beside the caller's, and two timers.

    Args:
        subscriber: Open; it is closed when `run()` ends.
        heartbeat: Seconds after which a sign of life is due if nothing was sent; None for never.

    Attributes:
        due: Whether a sign of life is due. Whoever sends it sets this and `idle` to False.
        idle: Whether nothing was sent since the last look, of which there are two per heartbeat. Whoever
            sends sets it to False.
    """

    def __init__(self, subscriber: Subscriber, heartbeat: float | None) -> None:
        self._subscriber = subscriber
        self._heartbeat = heartbeat
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._last: asyncio.TimerHandle | None = None
        self.due = False
        self.idle = False
        # The task that sends, while it may be stopped; whether it was; and why, if that was an error.
        self._task: asyncio.Task[Any] | None = None
        self._stopped = False
        self._error: Exception | None = None

    async def run(
        self,
        push: Callable[[], Awaitable[None]],
        receive: Receive,
        goodbye: str,
    ) -> None:
        """Run `push` until it ends, the client leaves, or the subscriber was too slow.

        When the subscriber has ended otherwise, `push` has `LAST_SECONDS` for what waits.

        Args:
            push: Takes from the subscriber, and sends.
            receive: The connection's.
            goodbye: Type of the message that says the client has left; others are ignored.

        Raises:
            Exception: What `push` or `receive` raises, but for an OSError of `push`: servers raise it when
                the client has left.
        """
        task = self._task = asyncio.current_task()
        # A client that takes nothing lets `push` wait in `send` for ever.
        self._subscriber.on_end = self._ended
        if self._subscriber.ended_by is not None:
            self._end_in_time()
        watching = self._loop.create_task(self._watch(receive, goodbye))
        self._beat()
        try:
            try:
                await push()
            finally:
                self._task = None
                for timer in (self._timer, self._last):
                    if timer is not None:
                        timer.cancel()
                self._subscriber.close()
                watching.cancel()
                await asyncio.wait({watching})
        except asyncio.CancelledError:
            # Ours ends here, one of the caller's goes on: `uncancel()` returns how many are left.
            if not self._stopped or task is None or task.uncancel():
                raise
        except OSError:
            # What servers raise when the client has left.
            pass
        if self._error is not None:
            raise self._error

    async def _watch(self, receive: Receive, goodbye: str) -> None:
        try:
            while (await receive())["type"] != goodbye:
                pass
        except Exception as error:
            self._error = error
        self._stop()

    def _ended(self) -> None:
        if self._subscriber.ended_by == "backlog":
            self._stop()
        elif self._task is not None:
            self._end_in_time()

    def _end_in_time(self) -> None:
        """Or the web server, which waits for open responses when it stops, would wait for this client."""
        self._last = self._loop.call_later(LAST_SECONDS, self._stop)

    def _stop(self) -> None:
        if self._task is not None and not self._stopped:
            self._stopped = True
            self._task.cancel()

    def _beat(self) -> None:
        """Look whether anything was sent since the last look: one timer, however many events there are."""
        if self._heartbeat is None:
            return
        if self.idle:
            self.due = True
            self._subscriber.interrupt()
        self.idle = not self.idle
        self._timer = self._loop.call_later(self._heartbeat / 2, self._beat)
