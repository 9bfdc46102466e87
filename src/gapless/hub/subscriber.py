"""One subscriber: what an endpoint, or any other task, takes its events from."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Self

from gapless._core import cursor as cursors
from gapless._core.event import Event, Gap
from gapless._core.log import Entry
from gapless._core.reader import Policy, Reader
from gapless.errors import ConfigurationError, HubClosed
from gapless.hub.inbox import ALL, EMPTY_HAND, Inbox, item_of
from gapless.hub.opened import Open
from gapless.hub.stats import SubscriberStats
from gapless.hub.upstream import Channel

__all__ = ["Subscriber"]

logger = logging.getLogger("gapless")

Cause = Literal["hub", "backlog", "caller"]


class Request:
    """What a subscriber is to be: the arguments of `Channels.subscribe()`, checked."""

    __slots__ = ("after", "channels", "history", "hub", "max_bytes", "max_events", "policy")

    def __init__(
        self,
        hub: Callable[[], Open],
        channels: tuple[str, ...],
        *,
        history: int,
        after: Mapping[str, str],
        policy: Policy,
        max_events: int,
        max_bytes: int,
    ) -> None:
        self.hub = hub
        self.channels = channels
        self.history = history
        self.after = after
        self.policy: Policy = policy
        self.max_events = max_events
        self.max_bytes = max_bytes


class Subscriber(Inbox):
    """The events of some channels, in order, and gaps in their place. `Channels.subscribe()` makes it.

    An async context manager: when it is entered, every event that is published from then on will come; when
    it is left, nothing is kept for it any more. One task at a time may take from it: to wait for it in a
    second one is a RuntimeError, and HubClosed before it was entered. It ends when the hub is closed, or
    when it was too slow and its policy is `disconnect`, after what waited until then.

    Attributes:
        ended_by: None while it is open. `hub`: the hub was closed. `backlog`: it was too slow, and a Gap says
            so. `caller`: `close()`.
        on_end: Called once when it ends, for who may be waiting for something else: for a slow client. What
            it raises is logged.
    """

    __slots__ = ("_hub", "_request", "ended_by", "on_end")

    def __init__(self, request: Request | None) -> None:
        super().__init__()
        self.ended_by: Cause | None = None
        self.on_end: Callable[[], object] | None = None
        self._request: Request | None = request
        self._hub: Open | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    async def open(self) -> None:
        """Subscribe. Once; `close()` must follow, unless this raises.

        Raises:
            HubClosed: The hub is not open in this event loop; or it, or this, was closed meanwhile; or this
                was opened before.
            ConfigurationError: The backend has no history, and one is asked for.
            BackendUnavailable: The history has to be read, and the server is away.
            BackendError: The server refuses the subscription or the read.
        """
        request, self._request = self._request, None
        if request is None:
            raise HubClosed("a subscriber is opened once; make another one with subscribe()")
        hub = request.hub()
        self._loop = asyncio.get_running_loop()
        if self._loop is not hub.loop:
            raise HubClosed("the hub is open in another event loop; make another one for this one")
        channels = await hub.upstream.open(request.channels)
        if hub.draining or self.ended_by is not None:
            # Nobody ends it any more.
            hub.upstream.release(channels)
            raise HubClosed("the hub is being closed, or the subscriber was closed while it was opened")
        if not hub.upstream.has_ids and (request.history or request.after or request.policy == "spill"):
            hub.upstream.release(channels)
            raise ConfigurationError(
                f"{type(hub.upstream.backend).__name__} keeps no history: there is none to send, to resume "
                "from, or to spill to; use a backend that does, as RedisChannelsStreamBackend"
            )
        # From here on, `close()` gives them back.
        self._hub = hub
        self.opening = True
        try:
            self._attach(hub, channels, request)
            while self._reading and self.ended_by is None:
                await self
                if self._error is not None:
                    raise self._error
            if self.ended_by == "hub":
                raise HubClosed("the hub was closed while the history was read")
        except BaseException:
            self.close()
            raise
        finally:
            self.opening = False

    def close(self) -> None:
        """Leave the channels; what was not taken is dropped. May be called again."""
        self._drop()
        self._leave("caller")

    def leave(self, channels: Iterable[str]) -> None:
        """Leave some channels; to leave the last one is `close()`. Names of others are ignored.

        What waits of them is dropped.

        Raises:
            HubClosed: The subscriber was not opened.
        """
        hub = self._check_opened()
        names = frozenset(channels)
        leaving = [reader for reader in self._readers if reader.log.channel in names]
        if len(leaving) == len(self._readers):
            self.close()
        elif leaving and self.ended_by is None:
            self._leave_out(names)
            self._readers = tuple(reader for reader in self._readers if reader not in leaving)
            self._ready = [reader for reader in self._ready or () if reader not in leaving]
            for reader in leaving:
                reader.close()
            self._reading -= hub.upstream.leave(leaving)

    def __aiter__(self) -> Self:
        """Iterate over events, and gaps in their place."""
        self._check_opened()
        return self

    async def batch(self) -> list[Event | Gap]:
        """Wait until there is something, and return all that waits; an empty list after the end.

        After an `async for` that was left, that is first what it had taken and not handed on, up to 31.
        """
        while True:
            entries = self._take(ALL)
            if entries:
                self._hand = EMPTY_HAND
                return [*map(item_of, entries)]
            if not self._live:
                self._check_opened()
                return []
            await self

    async def entries(self, limit: int = ALL) -> list[Entry]:
        """As `batch()`, for transports: entries, which are shared by all subscribers of their channel.

        They count as taken, for `cursor`, when `advance()` says so. What was not is returned again, all of
        it: `limit` bounds what is taken anew, of a single channel. The list is not to be changed.
        """
        self._check_opened()
        while True:
            entries = self._take(limit)
            if entries or not self._live:
                return entries
            await self

    def entries_nowait(self, limit: int = ALL) -> list[Entry]:
        """The same without waiting: none if nothing waits.

        Then `await subscriber` waits for more, for the end, or for an `interrupt()`: look again afterwards.
        To wait for some time only, put it into `asyncio.timeout()`; it is none of asyncio's futures.
        """
        return self._take(limit)

    def _bind(self) -> None:
        self._check_opened()

    def interrupt(self) -> None:
        """Wake the task that awaits this subscriber."""
        if self._hub is not None:
            self._hub.upstream.wakeups.wake((self,))

    @property
    def channels(self) -> tuple[str, ...]:
        """Their names, in order."""
        if self._request is not None:
            return self._request.channels
        return tuple(reader.log.channel for reader in self._readers)

    @property
    def cursor(self) -> str | None:
        """Where this subscriber is, for `subscribe(after=)`: after what it was given; also after its end.

        None if the backend's events have no ids, if the server could not be asked yet, or if all channels
        begin with a history of which nothing was given yet.
        """
        self._fold()
        positions = [
            (reader.log.digest, reader.reached) for reader in self._readers if reader.reached is not None
        ]
        return cursors.join(positions) if positions else None

    @property
    def positions(self) -> dict[str, str]:
        """The same by channel: what `cursor` says in one text."""
        self._fold()
        return {reader.log.channel: reader.reached for reader in self._readers if reader.reached is not None}

    @property
    def stats(self) -> SubscriberStats:
        """How this subscriber is now."""
        readers = self._readers
        for reader in readers:
            if not reader.bounded:
                # It drops when somebody comes across it.
                reader.check()
        return SubscriberStats(
            delivered=self._delivered - self._in_hand,
            dropped=sum(reader.dropped for reader in readers),
            spilled=sum(reader.spilled for reader in readers),
            waiting_events=sum(reader.waiting_events for reader in readers) + self._in_hand,
            waiting_bytes=sum(reader.waiting_bytes for reader in readers),
            behind=bool(self._reading) or any(reader.after is not None for reader in readers),
        )

    def end(self, cause: Cause) -> None:
        """End it, after what waits now. Called by the hub."""
        self._finish()
        self._leave(cause)

    def _leave(self, cause: Cause) -> None:
        if self.ended_by is not None:
            return
        self.ended_by = cause
        hub = self._hub
        if hub is not None:
            hub.upstream.leave(self._readers)
            hub.upstream.wakeups.wake((self,))
        if self.on_end is not None:
            try:
                self.on_end()
            except Exception:
                # The others must not suffer from it.
                logger.exception("on_end of a subscriber")

    def _attach(self, hub: Open, channels: Sequence[Channel], request: Request) -> None:
        history, after = request.history, request.after
        readers: list[Reader] = []
        for channel in channels:
            reader = Reader(
                channel.log,
                self,
                policy=request.policy,
                max_events=request.max_events,
                max_bytes=request.max_bytes,
            )
            readers.append(reader)
            last = channel.log.last
            position = after.get(channel.name)
            if position is not None and not (isinstance(last, Event) and last.id == position):
                reader.resume(position)
                hub.replays.want(channel, reader, after=position)
            elif position is None and history:
                reader.resume(None)
                hub.replays.want(channel, reader, after=None, limit=history)
        self._begin(readers)

    def _want(self, reader: Reader) -> None:
        if self._hub is not None:
            channel = self._hub.upstream.channels[reader.log.channel]
            self._hub.replays.want(channel, reader, after=reader.after)

    def _check_opened(self) -> Open:
        if self._hub is None:
            raise HubClosed("the subscriber was not opened: enter it with `async with`")
        return self._hub
