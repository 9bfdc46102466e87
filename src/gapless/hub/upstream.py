"""The hub's side of the backend: which channels are subscribed there, and what comes from it.

A channel is subscribed once, whoever uses it here, and is given up some time after nobody does. A channel is
never subscribed and unsubscribed at the same time: while the one is under way, the other waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Literal

from gapless._core.backoff import Backoff
from gapless._core.event import Event, Gap
from gapless._core.history import id_key
from gapless._core.log import Log
from gapless._core.reader import Reader
from gapless._core.replay import Replay
from gapless.backends.base import ChannelsBackend
from gapless.errors import HubClosed
from gapless.hub.ending import end_tasks
from gapless.hub.waiter import Wakeups

logger = logging.getLogger("gapless")


class Channel:
    """A channel of the hub.

    Attributes:
        users: Subscribers, and calls that are about to make one.
        state: `open`: subscribed at the backend.
        opened: Done when it is open, or failed to be; None while nobody opens it.
        replays: Reads that are under way, by where they begin and how much they read.
    """

    __slots__ = ("log", "name", "opened", "replays", "state", "users")

    def __init__(self, name: str) -> None:
        self.name = name
        self.log = Log(name)
        self.users = 0
        self.state: Literal["new", "open", "closing"] = "new"
        self.opened: asyncio.Future[None] | None = None
        self.replays: dict[tuple[str | None, int], Replay] = {}


class Upstream:
    """The channels of one hub, in one event loop.

    Args:
        backend: Started, and not yet stopped.
        linger_seconds: How long a channel stays subscribed that nobody uses.

    Attributes:
        channels: By name.
        has_ids: Whether the backend's events have ids, as far as is known.
        events: Events and gaps that came.
        disconnected: Subscribers that were too slow and whose policy is `disconnect`.
    """

    def __init__(self, backend: ChannelsBackend, linger_seconds: float) -> None:
        self.backend = backend
        self.channels: dict[str, Channel] = {}
        self.has_ids = True
        self.wakeups = Wakeups()
        self.events = 0
        self.disconnected = 0
        self.closed = False
        self._linger_seconds = linger_seconds
        self._loop = asyncio.get_running_loop()
        self._opening: list[Channel] = []
        self._idle: dict[Channel, float] = {}
        self._idle_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._receiver = self._loop.create_task(self._receive(), name="gapless hub")

    async def open(self, names: Sequence[str]) -> list[Channel]:
        """Use channels, and return when they are subscribed. `release()` must follow, unless this raised.

        Raises:
            Exception: Whatever the backend raises when it subscribes to one of them.
        """
        channels = [self._use(name) for name in names]
        try:
            # All at once, and not one after the other.
            asked: set[asyncio.Future[None]] = set()
            for channel in channels:
                if channel.state != "open":
                    asked |= {self._ask(channel)}
            if asked:
                # Not awaited themselves: who is cancelled would cancel them for all who wait.
                done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
                for opened in done:
                    opened.result()
            if self.closed:
                # Between the end of the wait and this moment.
                raise HubClosed("the hub was closed while the channel was opened")
        except BaseException:
            self.release(channels)
            raise
        return channels

    def release(self, channels: Iterable[Channel]) -> None:
        """Use channels no more."""
        for channel in channels:
            channel.users -= 1
            if not channel.users and self.channels.get(channel.name) is channel:
                self._idle[channel] = self._loop.time() + self._linger_seconds
        if self._idle and self._idle_timer is None and not self.closed:
            self._idle_timer = self._loop.call_later(self._linger_seconds, self._close_idle)

    def leave(self, readers: Sequence[Reader]) -> int:
        """A subscriber uses these channels no more; return how many of its readers waited for a read."""
        channels = [self.channels[reader.log.channel] for reader in readers]
        waited = 0
        for channel, reader in zip(channels, readers, strict=True):
            for replay in channel.replays.values():
                if reader in replay.readers:
                    del replay.readers[reader]
                    waited += 1
        self.release(channels)
        return waited

    def subscribers(self) -> set[Any]:
        """Return the owners of all readers."""
        return {reader.owner for channel in self.channels.values() for reader in channel.log.readers}

    def end_disconnected(self, log: Log) -> None:
        """End the subscribers whose policy has just said so."""
        readers, log.disconnected = log.disconnected, []
        for reader in readers:
            self.disconnected += 1
            reader.owner.end("backlog")

    def spawn(self, work: Callable[[], object], name: str) -> asyncio.Task[None]:
        """Run a coroutine function in a task that ends with this object at the latest.

        It begins later, whatever the loop's task factory is: who calls this is not ready for what it does.
        """
        task: asyncio.Task[None] = asyncio.Task(work(), loop=self._loop, name=name)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End every task. The backend's subscriptions end when it is stopped."""
        self.closed = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        tasks = {self._receiver, *self._tasks}
        for channel in list(self.channels.values()):
            self._finish(channel, HubClosed("the hub was closed while the channel was opened"))
        await end_tasks(tasks)

    # Opening and closing.

    def _use(self, name: str) -> Channel:
        channel = self.channels.get(name)
        if channel is None:
            channel = self.channels[name] = Channel(name)
        channel.users += 1
        self._idle.pop(channel, None)
        return channel

    def _ask(self, channel: Channel) -> asyncio.Future[None]:
        """Have a channel opened, and return what says that it is, or that it can't be."""
        if channel.opened is None:
            channel.opened = self._loop.create_future()
            if channel.state == "new":
                self._open_soon(channel)
        return channel.opened

    def _open_soon(self, channel: Channel) -> None:
        # All that are asked for in this tick, in one call.
        if not self._opening:
            self._loop.call_soon(self._open_now)
        self._opening.append(channel)

    def _open_now(self) -> None:
        channels, self._opening = self._opening, []
        if not self.closed:
            self.spawn(lambda: self._open(channels), "gapless hub subscribe")

    async def _open(self, channels: list[Channel]) -> None:
        try:
            await self.backend.subscribe([channel.name for channel in channels])
        except Exception as error:
            if len(channels) > 1:
                # One of them is at fault, and the others must not suffer from it, nor wait for it.
                await asyncio.gather(*(self._open([channel]) for channel in channels))
                return
            (channel,) = channels
            self._finish(channel, error)
            return
        positions = await asyncio.gather(*(self._position(channel) for channel in channels))
        for channel, position in zip(channels, positions, strict=True):
            channel.log.begin(position)
            channel.state = "open"
            self._finish(channel, None)

    async def _position(self, channel: Channel) -> str | None:
        """Return where a channel stands, None if that can't be known."""
        if not self.has_ids:
            return None
        try:
            position = await self.backend.position(channel.name)
            if position is not None:
                id_key(position.partition("@")[0])  # raises what a log could not begin with
        except NotImplementedError:
            self.has_ids = False
        except Exception as error:
            logger.debug("the position of %r is unknown: %s", channel.name, error)
        else:
            return position
        return None

    def _finish(self, channel: Channel, error: Exception | None) -> None:
        opened, channel.opened = channel.opened, None
        if error is not None and self.channels.get(channel.name) is channel:
            # Nobody is subscribed to it, and whoever asks next tries again.
            del self.channels[channel.name]
            self._idle.pop(channel, None)
        if opened is not None and not opened.done():
            if error is None:
                opened.set_result(None)
            else:
                opened.set_exception(error)
                opened.exception()

    def _close_idle(self) -> None:
        self._idle_timer = None
        now = self._loop.time()
        closing: list[Channel] = []
        for channel, due in list(self._idle.items()):
            if due <= now and channel.state == "open":
                closing.append(channel)
                del self._idle[channel]
                channel.state = "closing"
        if self._idle:
            delay = max(0.0, min(self._idle.values()) - now) or self._linger_seconds
            self._idle_timer = self._loop.call_later(delay, self._close_idle)
        if closing:
            self.spawn(lambda: self._close(closing), "gapless hub unsubscribe")

    async def _close(self, channels: list[Channel]) -> None:
        try:
            await self.backend.unsubscribe([channel.name for channel in channels])
        except Exception:
            logger.exception("%d channels could not be unsubscribed", len(channels))
        for channel in channels:
            if channel.users:
                # Somebody came meanwhile. Reads of those who have left know another log.
                channel.log = Log(channel.name)
                channel.replays = {}
                channel.state = "new"
                self._open_soon(channel)
            else:
                # It may have been used, and left again, while it was given up.
                self._idle.pop(channel, None)
                del self.channels[channel.name]

    # Receiving.

    async def _receive(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with aclosing(self.backend.events()) as items:
                    async for item in items:
                        self._dispatch(item)
                        backoff.reset()
                logger.error(
                    "the events of %r have ended though it was not stopped; beginning anew", self.backend
                )
            except Exception:
                logger.exception("the events of %r; beginning anew", self.backend)
            for channel in list(self.channels.values()):
                self._dispatch(Gap(channel.name, None, "disconnected"))
            await asyncio.sleep(backoff.next_delay_seconds(1.0))

    def _dispatch(self, item: Event | Gap) -> None:
        channel = self.channels.get(item.channel)
        if channel is None:
            return
        self.events += 1
        log = channel.log
        log.append(item, self.events)
        if log.disconnected:
            self.end_disconnected(log)
        self.wakeups.wake_all(log.owners)
        if log.waiting:
            waiting, log.waiting = log.waiting, {}
            for reader in waiting:
                reader.owner.woken(reader)
            self.wakeups.wake(reader.owner for reader in waiting)
