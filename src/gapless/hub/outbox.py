"""Publishes that nobody waits for: a bounded queue and the task that empties it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gapless._core.throttle import Throttle
from gapless.errors import BackendError, BackendUnavailable
from gapless.hub.ending import end_tasks

logger = logging.getLogger("gapless")

# Publishes to different channels that are under way at once. Those to one channel keep their order, also
# through faults, so one is sent when the one before it is confirmed.
MAX_CONCURRENT = 100

Publish = Callable[[bytes, tuple[str, ...]], Awaitable[None]]
OnError = Callable[[Exception, bytes, tuple[str, ...]], object]


@dataclass(slots=True)
class _Waiting:
    data: bytes
    channels: tuple[str, ...]
    done: bool = False


class Outbox:
    """Sends what is put, in order on each channel.

    Args:
        publish: Publishes once.
        max_events: Publishes that may wait.
        max_bytes: Bytes of their payloads that may wait; a single one may be larger.
        on_error: Called with what failed.
    """

    def __init__(
        self, publish: Publish, *, max_events: int, max_bytes: int, on_error: OnError | None
    ) -> None:
        self._publish = publish
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._on_error = on_error
        self._queue: deque[_Waiting] = deque()
        self._size_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._complaints = Throttle()
        self._closed = False
        self.failed = 0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, data: bytes, channels: tuple[str, ...]) -> None:
        """Queue a publish.

        Raises:
            BackendUnavailable: Too many wait already.
        """
        size = self._size_bytes + len(data)
        if len(self._queue) >= self._max_events or (self._queue and size > self._max_bytes):
            raise BackendUnavailable(
                f"{len(self._queue)} publishes of {self._size_bytes} bytes wait already (max_queue="
                f"{self._max_events}, max_queue_bytes={self._max_bytes}); this one was not queued, try later"
            )
        self._queue.append(_Waiting(data, channels))
        self._size_bytes = size
        if self._task is None or self._task.done():
            # Begins later, whatever the loop's task factory is: `on_error` may call this.
            loop = asyncio.get_running_loop()
            self._task = asyncio.Task(self._send(), loop=loop, name="gapless outbox")

    def put_or_tell(self, data: bytes, channels: tuple[str, ...]) -> None:
        """As `put()`, for who is not there any more to be told: that is an error like the others."""
        try:
            if self._closed:
                raise BackendUnavailable("the hub was closed before it was sent")
            self.put(data, channels)
        except BackendUnavailable as error:
            self._failed(error, _Waiting(data, channels))

    async def drain(self, seconds: float) -> None:
        """Wait until all were sent, `seconds` at most; what is left then is given up and told."""
        self._closed = True
        task = self._task
        if task is None:
            return
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            await end_tasks({task})
            error = BackendUnavailable("the hub was closed before it was sent, or while it was")
            for waiting in self._queue:
                if not waiting.done:
                    self._failed(error, waiting)
            self._queue.clear()
            self._size_bytes = 0

    async def _send(self) -> None:
        while self._queue:
            # They stay in the queue while they are sent: what a cancellation leaves undone is told.
            batch = self._next_batch()
            await asyncio.gather(*map(self._send_one, batch))
            for _ in batch:
                self._size_bytes -= len(self._queue.popleft().data)

    def _next_batch(self) -> list[_Waiting]:
        """Return the first of the queue, as far as no channel is named twice."""
        batch: list[_Waiting] = []
        named: set[str] = set()
        for waiting in self._queue:
            if len(batch) == MAX_CONCURRENT or not named.isdisjoint(waiting.channels):
                break
            named.update(waiting.channels)
            batch.append(waiting)
        return batch

    async def _send_one(self, waiting: _Waiting) -> None:
        try:
            await self._publish(waiting.data, waiting.channels)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody has cancelled this one: it comes from inside the backend, and must not end the others.
            self._failed(BackendError("the backend has cancelled it; it may have been published"), waiting)
        except Exception as error:
            self._failed(error, waiting)
        waiting.done = True

    def _failed(self, error: Exception, waiting: _Waiting) -> None:
        self.failed += 1
        if self._complaints.picks():
            logger.error("%d publishes failed, the last: %r", self._complaints.count, error)
        if self._on_error is not None:
            try:
                self._on_error(error, waiting.data, waiting.channels)
            except Exception:
                logger.exception("on_publish_error")
