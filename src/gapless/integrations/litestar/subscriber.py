"""What the plugin hands out: Litestar's subscriber on a hub's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from operator import length_hint
from typing import Any, Protocol

from litestar.channels import Subscriber as LitestarSubscriber

from gapless._core.event import Event, Gap
from gapless._core.history import id_key
from gapless._core.log import Entry
from gapless._core.reader import Policy
from gapless.hub import Subscriber as HubSubscriber
from gapless.hub.ending import end_tasks
from gapless.hub.inbox import BITE
from gapless.hub.subscriber import Cause

__all__ = ["Subscriber"]

logger = logging.getLogger("gapless")

EventCallback = Callable[[bytes], Awaitable[Any]]
GapCallback = Callable[[Gap], Awaitable[Any]]

# Puts that may wait if the plugin does not bound the backlog.
MAX_PUTS = 1000


class Plugin(Protocol):
    """What a subscriber asks of its plugin."""

    drain_timeout: float
    running: set[Any]


class Watched(Iterator[Entry]):
    """What a subscriber has in its hand, while somebody waits for room in it."""

    def __init__(self, hand: Iterator[Entry], room: asyncio.Event) -> None:
        self._hand = hand
        self._room = room

    def __next__(self) -> Entry:
        self._room.set()
        return next(self._hand)

    def __length_hint__(self) -> int:
        return length_hint(self._hand)


class Subscriber(HubSubscriber, LitestarSubscriber):
    """The events of some channels. `ChannelsPlugin.subscribe()` makes it.

    Everything that Litestar's has, and everything that the hub's has: iterate over it, or call `batch()`, for
    events with channel and id and for gaps in their place; `cursor` says where to go on later, `stats` how it
    is, `ended_by` why it has ended. One task at a time may take from it, in whichever way.

    Subclasses may be given as `subscriber_class`. Events do not pass through `put_nowait()`; who wants to
    change them overrides `iter_events()`, which the WebSocket handlers of the plugin do not call.

    Args:
        plugin: The plugin that makes it.
        max_backlog: Events that may wait in each channel.
        backlog_strategy: What happens to more.
    """

    # Litestar's constructor is not called: it makes a queue, and the hub has the events.
    def __init__(
        self, plugin: Plugin, max_backlog: int | None = None, backlog_strategy: Policy = "backoff"
    ) -> None:
        super().__init__(None)
        self.max_backlog = max_backlog
        self.backlog_strategy: Policy = backlog_strategy
        self._owner = plugin
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None
        self._then: Callable[[], Awaitable[None]] | None = None
        # When so many were handed on, iteration ends: `run_in_background()` is left.
        self._enough: int | None = None

    def prepare(self, made: HubSubscriber, then: Callable[[], Awaitable[None]] | None) -> None:
        """Be what `made`, which the hub has made, was to be; do `then` when it is open. For the plugin."""
        self._request = made._request  # noqa: SLF001 (of the class that this one is made of)
        self._then = then

    async def open(self) -> None:
        """Subscribe. Called by the plugin."""
        await super().open()
        try:
            if self._then is not None:
                await self._then()
        except BaseException:
            self.close()
            raise

    async def put(self, item: bytes | None) -> None:
        """Put a payload, an Event of channel "" and without id, before what waits; None ends the stream.

        Up to 31 events that an iteration has taken out of the backlog already come before it.

        Waits while too much was put that was not taken; returns, and has done nothing, if the subscriber has
        ended or ends. Never waits for None.
        """
        while not self.put_nowait(item) and self.ended_by is None:
            self._room = self._room or asyncio.Event()
            self._room.clear()
            if not isinstance(self._hand, Watched):
                self._hand = Watched(self._hand, self._room)
            await self._room.wait()

    def put_nowait(self, item: bytes | None) -> bool:
        """As `put()`, and return whether it was put: not if there is no room, or the subscriber has ended."""
        if self.ended_by is not None:
            return item is None
        if item is None:
            self.end("caller")
            return True
        if self._in_hand >= (self.max_backlog or MAX_PUTS):
            return False
        self._append([Entry(Event("", item))])
        return True

    def put_history(self, channel: str, events: Iterable[Event]) -> None:
        """Put a history, oldest first, where `put()` would, without those of its events that come live.

        It is not bounded by `max_backlog`, since it is in memory already.
        """
        reached = next((reader.reached for reader in self._readers if reader.log.channel == channel), None)
        position = None if reached is None else id_key(reached.partition("@")[0])
        entries = [
            Entry(event)
            for event in events
            if position is None or event.id is None or id_key(event.id) <= position
        ]
        # Before the first event, a client that is lost in the history comes back for the rest of it;
        # later, it would be given again what came after it.
        if self._delivered > self._in_hand or channel not in self.channels:
            for entry in entries:
                entry.reached = None
        elif entries:
            entries[-1].reached = reached
        self._append(entries)

    @property
    def qsize(self) -> int:
        """Events that wait here."""
        return self.stats.waiting_events

    async def iter_events(self) -> AsyncGenerator[bytes, None]:
        """Yield payloads; gaps are left out. Ends when the subscriber does, after what waits then."""
        self._check_opened()
        while True:
            entry = self._next(BITE)
            if entry is not None:
                if isinstance(entry.item, Event):
                    yield entry.item.data
                if self._enough is not None and self._handed_on >= self._enough:
                    return
            elif not self._live or self._enough is not None:
                return
            else:
                # Not in a function of its own: a coroutine less for each event.
                await self

    @asynccontextmanager
    async def run_in_background(
        self, on_event: EventCallback, join: bool = True, *, on_gap: GapCallback | None = None
    ) -> AsyncGenerator[None, None]:
        """Call `on_event` with each payload, in a task, while this context lasts.

        What is left when the context ends: with `join`, what waits in this process at that moment is still
        handled, unless nothing is done with it for the plugin's `drain_timeout`. Without, or if the context
        is left with an exception, the task is cancelled.

        Args:
            on_event: If it raises, the task ends, and the exception is raised when the context is left.
            join: Whether to wait.
            on_gap: Called where events are missing. Then `iter_events()` is not called.

        Raises:
            RuntimeError: It runs already.
        """
        self._start_in_background(on_event, on_gap)
        try:
            yield
        except BaseException:
            await self._stop(join=False)
            raise
        await self.stop(join=join)

    @property
    def is_running(self) -> bool:
        """Whether `run_in_background()` is under way."""
        return self._task is not None

    async def stop(self, join: bool = False) -> None:
        """End the task of `run_in_background()`; with `join`, after what waits now. May be called again.

        Takes no longer than the task needs for that, and gives up when it has done nothing for the plugin's
        `drain_timeout`. Called in that task, it ends when it is back from `on_event`.

        Raises:
            Exception: What `on_event` has raised.
        """
        error = await self._stop(join=join)
        if error is not None:
            raise error

    def _leave(self, cause: Cause) -> None:
        super()._leave(cause)
        if self._room is not None:
            self._room.set()

    def _take(self, limit: int) -> list[Entry]:
        if self._room is not None:
            self._room.set()
        # Faster than super().
        return HubSubscriber._take(self, limit)  # noqa: SLF001

    def _hold(self, entries: list[Entry]) -> list[Entry]:
        if self._room is not None:
            self._room.set()
        return super()._hold(entries)

    def _append(self, entries: list[Entry]) -> None:
        hub = self._check_opened()
        if self._in_hand:
            self._taken += entries  # the iterator in the hand goes on into them
        else:
            self._fold()
            self._hold(entries)
        self._delivered += len(entries)
        hub.upstream.wakeups.wake((self,))

    @property
    def _handed_on(self) -> int:
        return self._delivered - self._in_hand

    def _start_in_background(self, on_event: EventCallback, on_gap: GapCallback | None = None) -> None:
        if self._task is not None:
            raise RuntimeError("Subscriber is already running")
        work = self._worker(on_event) if on_gap is None else self._work(on_event, on_gap)
        self._task = asyncio.create_task(work, name="gapless subscriber")
        self._owner.running.add(self)

    async def _worker(self, on_event: EventCallback) -> None:
        async for event in self.iter_events():
            await on_event(event)

    async def _work(self, on_event: EventCallback, on_gap: GapCallback) -> None:
        while self._enough is None or self._handed_on < self._enough:
            entry = self._next(1)
            if entry is not None:
                if isinstance(entry.item, Event):
                    await on_event(entry.item.data)
                else:
                    await on_gap(entry.item)
            elif not self._live or self._enough is not None:
                return
            else:
                await self

    async def _stop(self, *, join: bool) -> BaseException | None:
        task = self._task
        if task is None:
            return None
        if task is asyncio.current_task():
            self._enough = 0
            return None
        try:
            if join:
                await self._join(task)
        finally:
            try:
                await end_tasks({task})
            finally:
                self._enough = None
                self._task = None
                self._owner.running.discard(self)
        return task.exception() if task.done() and not task.cancelled() else None

    async def _join(self, task: asyncio.Task[None]) -> None:
        waiting = self.qsize
        # If it waits, and nothing does for it, it is not in `on_event`.
        if self.callback is not None and not waiting:
            return
        # And a gap in each channel, which does not count as waiting. It ends when nothing waits, too.
        self._enough = self._handed_on + waiting + len(self._readers)
        while not task.done():
            before = self._handed_on
            await asyncio.wait({task}, timeout=self._owner.drain_timeout)
            if self._handed_on == before and not task.done():
                seconds = self._owner.drain_timeout
                logger.error("a callback did nothing for %s s; %d events are left", seconds, self.qsize)
                return
