"""The hub of an application: publish to a channel here, and everybody who watches it gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from gapless._core import cursor as cursors
from gapless._core.history import split_cursor
from gapless._core.names import check_channels
from gapless._core.reader import POLICIES, Policy
from gapless.backends import arguments
from gapless.backends.base import ChannelsBackend
from gapless.errors import ConfigurationError, HubClosed, UnknownChannel
from gapless.hub.opened import Open
from gapless.hub.outbox import OnError
from gapless.hub.stats import HubStats
from gapless.hub.subscriber import Request, Subscriber
from gapless.hub.upstream import Upstream

__all__ = ["Channels"]

Names = str | Iterable[str]

NOT_OPEN = "the hub is not open: use it inside `async with channels:`, or the application's lifespan"


class Channels:
    """Fans out events to many subscribers of one process.

    An async context manager, in an application's lifespan: entering it starts the backend, leaving it sends
    what `publish_nowait()` has queued, ends the subscribers, and stops the backend. It may be entered again,
    one event loop at a time.

    Args:
        backend: The broker. It belongs to this hub.
        channels: The only names that there are; None for any name.
        encoder: Makes bytes or str of what is published, unless it is bytes or str. Default: JSON, by
            msgspec.
        max_backlog: Events that may wait for one subscriber in one channel; `subscribe()` may say otherwise.
        max_backlog_bytes: The same in bytes of payloads; a single event may be larger.
        policy: What happens when more would wait: see `subscribe()`.
        linger: Seconds for which a channel stays subscribed at the backend when its last subscriber is gone.
        max_queue: Publishes of `publish_nowait()` that may wait.
        max_queue_bytes: The same in bytes of payloads.
        on_publish_error: Called with exception, payload and channels of each publish of `publish_nowait()`
            that failed. Default: one line in the log, for the 1st, 2nd, 4th, 8th...
        drain_timeout: Seconds to wait for these publishes when the hub is closed.

    Attributes:
        backend: The broker, as it was given.

    Raises:
        ConfigurationError: An argument is out of range or of the wrong kind.
        HubClosed: It is entered and is open already.
    """

    def __init__(
        self,
        backend: ChannelsBackend,
        *,
        channels: Iterable[str] | None = None,
        encoder: Callable[[Any], bytes | str] = msgspec.json.encode,
        max_backlog: int = 1000,
        max_backlog_bytes: int = 16 * 1024 * 1024,
        policy: Policy = "backoff",
        linger: float = 1.0,
        max_queue: int = 10_000,
        max_queue_bytes: int = 16 * 1024 * 1024,
        on_publish_error: OnError | None = None,
        drain_timeout: float = 5.0,
    ) -> None:
        if isinstance(backend, type) or not hasattr(backend, "events"):
            raise ConfigurationError(f"backend: expected a ChannelsBackend, got {backend!r}")
        _check_limits(policy, max_backlog, max_backlog_bytes)
        arguments.check_at_least(1, max_queue=max_queue, max_queue_bytes=max_queue_bytes)
        arguments.check_seconds(linger=linger, drain_timeout=drain_timeout)
        arguments.check_function(encoder=encoder, on_publish_error=on_publish_error)
        self.backend = backend
        self._declared = None if channels is None else frozenset(check_channels(channels))
        self._encoder = encoder
        self._policy: Policy = policy
        self._max_backlog = max_backlog
        self._max_backlog_bytes = max_backlog_bytes
        self._linger = linger
        self._max_queue = max_queue
        self._max_queue_bytes = max_queue_bytes
        self._on_publish_error = on_publish_error
        self._drain_timeout = drain_timeout
        self._open: Open | None = None

    async def __aenter__(self) -> Self:
        if self._open is not None:
            raise HubClosed("the hub is open already; make another one for another event loop")
        await self.backend.on_startup()
        self._open = Open(
            Upstream(self.backend, self._linger),
            max_events=self._max_queue,
            max_bytes=self._max_queue_bytes,
            on_error=self._on_publish_error,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Send what is queued, end the subscribers, stop the backend. Idempotent."""
        hub, self._open = self._open, None
        if hub is None:
            return
        try:
            await hub.outbox.drain(self._drain_timeout)
        finally:
            for subscriber in hub.upstream.subscribers():
                subscriber.end("hub")
            try:
                await hub.upstream.close()
            finally:
                await self.backend.on_shutdown()

    def drain(self) -> None:
        """End the subscribers, and take no new ones; publishing goes on until the hub is closed."""
        hub = self._open
        if hub is not None:
            hub.draining = True
            for subscriber in hub.upstream.subscribers():
                subscriber.end("hub")

    async def publish(self, data: Any, channels: Names) -> None:
        """Publish to one or more channels, and return when the backend has confirmed it.

        Args:
            data: bytes or str, as they are; anything else is encoded by the encoder, once.
            channels: A name, or names.

        Raises:
            TypeError, ValueError: `data` can't be encoded, or a name is none.
            UnknownChannel: A channel was not declared. Nothing was published.
            HubClosed: The hub is not open.
            BackendError: As the backend's `publish()`.
        """
        data, names = self.encode(data), self._names(channels)
        await self._hub().publish(data, names)

    def publish_nowait(self, data: Any, channels: Names) -> None:
        """Queue a publish; errors are counted and given to `on_publish_error`. May be called in any thread.

        Those to one channel keep their order, so one is sent when the one before it is confirmed: for many
        events on one channel, several `publish()` at once are faster. A `publish()` does not wait for them.

        Raises:
            BackendUnavailable: The queue is full. In another thread, it is an error like those that follow.
            TypeError, ValueError, UnknownChannel, HubClosed: As `publish()`.
        """
        names = self._names(channels)
        hub = self._hub()
        payload = self.encode(data)
        if hub.is_here():
            hub.outbox.put(payload, names)
        else:
            hub.loop.call_soon_threadsafe(hub.outbox.put_or_tell, payload, names)

    def subscribe(
        self,
        channels: Names,
        *,
        history: int | None = None,
        after: str | Mapping[str, str] | None = None,
        policy: Policy | None = None,
        max_backlog: int | None = None,
        max_backlog_bytes: int | None = None,
    ) -> Subscriber:
        """Return a subscriber to enter: `async with hub.subscribe("room") as subscriber`.

        Args:
            channels: A name, or names.
            history: Begin each channel with its newest events, so many at most.
            after: Go on from here: a `cursor` of an earlier subscriber, or an id (or a `position()`) for each
                channel. What was missed comes first, before it a Gap if not all of it is known to be there.
                Channels that it does not mention begin as if it was not given.
            policy: What happens when more than `max_backlog` events would wait. `backoff`: new events are
                dropped until what waits was taken. `dropleft`: the oldest are dropped. `disconnect`: the
                subscriber ends. `spill`: all but the first are dropped and read from the history when it has
                been taken, so that nothing is lost that the history has. What is lost is a Gap of reason
                ``backlog``.
            max_backlog: Events that may wait in each channel; up to 31 more are in the hand of `async for`.
            max_backlog_bytes: The same in bytes of payloads; a single event may be larger.

        Raises:
            TypeError, ValueError: A name is none, or `after` is no cursor.
            ConfigurationError: An argument is out of range.
            UnknownChannel: A channel was not declared.
        """
        names = self._names(channels)
        if not names:
            raise ConfigurationError("channels: expected at least one name")
        policy = self._policy if policy is None else policy
        max_backlog = self._max_backlog if max_backlog is None else max_backlog
        max_backlog_bytes = self._max_backlog_bytes if max_backlog_bytes is None else max_backlog_bytes
        _check_limits(policy, max_backlog, max_backlog_bytes)
        if history is not None:
            arguments.check_at_least(0, history=history)
        request = Request(
            self._hub_for_subscribers,
            names,
            history=history or 0,
            after=_positions(after, names),
            policy=policy,
            max_events=max_backlog,
            max_bytes=max_backlog_bytes,
        )
        return Subscriber(request)

    def encode(self, data: Any) -> bytes:
        """Return `data` as it is published.

        Raises:
            TypeError, ValueError: It can't be encoded.
        """
        if not isinstance(data, bytes | str | bytearray | memoryview):
            data = self._encoder(data)
        if isinstance(data, str):
            return data.encode()
        return arguments.check_payload(data)

    @property
    def stats(self) -> HubStats:
        """How the hub is now; all zero while it is closed."""
        hub = self._open
        if hub is None:
            return HubStats()
        channels = hub.upstream.channels.values()
        return HubStats(
            channels=len(channels),
            subscribers=len(hub.upstream.subscribers()),
            events=hub.upstream.events,
            kept_events=sum(len(channel.log) for channel in channels),
            replays=hub.replays.count,
            disconnected=hub.upstream.disconnected,
            queued=len(hub.outbox),
            published=hub.published,
            publish_errors=hub.outbox.failed,
        )

    def _hub(self) -> Open:
        if self._open is None:
            raise HubClosed(NOT_OPEN)
        return self._open

    def _hub_for_subscribers(self) -> Open:
        hub = self._hub()
        if hub.draining:
            raise HubClosed("the hub is being closed")
        return hub

    def _names(self, channels: Names) -> tuple[str, ...]:
        names = tuple(check_channels([channels] if isinstance(channels, str) else channels))
        if self._declared is not None:
            for name in names:
                if name not in self._declared:
                    raise UnknownChannel(name)
        return names


def _check_limits(policy: object, max_backlog: int, max_backlog_bytes: int) -> None:
    if policy not in POLICIES:
        raise ConfigurationError(f"policy: expected one of {', '.join(POLICIES)}, got {policy!r}")
    arguments.check_at_least(1, max_backlog=max_backlog, max_backlog_bytes=max_backlog_bytes)


def _positions(after: str | Mapping[str, str] | None, names: Iterable[str]) -> dict[str, str]:
    if after is None:
        return {}
    if isinstance(after, str):
        return cursors.split(after, {cursors.digest(name): name for name in names})
    positions = {name: after[name] for name in names if name in after}
    for name, position in positions.items():
        if not isinstance(position, str):
            raise TypeError(f"after: expected an id for {name!r}, got {position!r}")
        split_cursor(position)
    return positions
