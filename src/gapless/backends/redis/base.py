"""Connections, subscriptions and consumers: what both Redis backends have."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import AsyncGenerator, Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from gapless._core.event import Event, Gap
from gapless._core.names import check_channels
from gapless._core.throttle import Throttle
from gapless._redis.client import ConnectionSource
from gapless._redis.commands import Command, ConnectionLost, pack
from gapless._redis.errors import ReplyError
from gapless._redis.keys import Keys
from gapless._redis.publisher import Publish, Publisher
from gapless._redis.scripts import Script
from gapless._redis.timing import Timing
from gapless.backends import arguments
from gapless.backends.base import ChannelsBackend
from gapless.backends.consumer import Events, Payloads
from gapless.backends.delivery import Delivery
from gapless.backends.litestar_worker import in_litestar_worker
from gapless.backends.redis.in_loop import InLoop, Settings
from gapless.health import Health

if TYPE_CHECKING:
    from gapless._redis.client import Redis, Valkey

logger = logging.getLogger("gapless")

MEBIBYTE = 1024 * 1024


class RedisChannelsBackend(ChannelsBackend, ABC):
    """Base of the Redis backends: connections, subscriptions and consumers.

    Nothing is connected at construction. The first use in an event loop connects, or `on_startup()`;
    one backend works in any number of loops, one after the other or at once.

    Args:
        redis: A `redis.asyncio.Redis` or `valkey.asyncio.Valkey`, with whatever host, credentials,
            TLS, unix socket, database or Sentinel it has. Two connections of our own are made like
            its connections (none is taken from its pool), so its `decode_responses`, `protocol`,
            `socket_timeout` and pool size don't matter. It stays yours to close.
        key_prefix: Stands before the name of every key and push channel, joined by ``_``. ``""``:
            bare channel names. Channel names are byte-exact; any string that UTF-8 can encode.
        stream_sleep_no_subscriptions: Milliseconds, at least 0. Kept for compatibility and without
            effect: nothing is polled, so there is no pause.
        publish_timeout: Seconds that a publish waits for a connection, while there is none, for a server
            that is not ready, and after a lost reply to find out what became of it.
        subscribe_timeout: Seconds that a subscribe waits for the server's confirmation.
        liveness_timeout: Seconds without a sign of life, a PING included, after which a connection
            is given up and made anew.
        connect_timeout: Seconds for one attempt to connect.
        max_backlog: Events that wait for a consumer of `events()` or `stream_events()`. What exceeds it,
            the consumer gets from the history when it has taken the others; what the history does not
            have any more (Pub/Sub has none) is counted and reported as a Gap.
        max_backlog_bytes: The same bound for their payloads.
        max_outbox_bytes: Bytes of publishes that wait for a connection or a server; beyond it, publish raises
            BackendUnavailable at once.
        on_gap: Called with each `Gap` when it is found, in the event loop, once for all consumers; they come
            to it later, in its place among the events. A Gap of reason ``backlog`` is found when the consumer
            comes to it, and by each slow consumer for itself; `health().consumers_behind` tells at once. It
            must not block. What it raises is logged.

    Raises:
        ConfigurationError: An argument is out of range or of the wrong kind.
    """

    _scripts: tuple[Script, ...]

    def __init__(
        self,
        *,
        redis: Redis | Valkey,
        key_prefix: str,
        stream_sleep_no_subscriptions: int,
        publish_timeout: float = 5.0,
        subscribe_timeout: float = 5.0,
        liveness_timeout: float = 10.0,
        connect_timeout: float = 5.0,
        max_backlog: int = 100_000,
        max_backlog_bytes: int = 64 * MEBIBYTE,
        max_outbox_bytes: int = 64 * MEBIBYTE,
        on_gap: Callable[[Gap], object] | None = None,
    ) -> None:
        self._redis = redis
        self._keys = Keys(key_prefix)
        arguments.check_at_least(0, stream_sleep_no_subscriptions=stream_sleep_no_subscriptions)
        arguments.check_at_least(
            1,
            max_backlog=max_backlog,
            max_backlog_bytes=max_backlog_bytes,
            max_outbox_bytes=max_outbox_bytes,
        )
        arguments.check_seconds(
            publish_timeout=publish_timeout,
            subscribe_timeout=subscribe_timeout,
            liveness_timeout=liveness_timeout,
            connect_timeout=connect_timeout,
        )
        arguments.check_function(on_gap=on_gap)
        self._settings = Settings(
            source=ConnectionSource(redis),
            timing=Timing(
                publish_timeout=publish_timeout,
                subscribe_timeout=subscribe_timeout,
                liveness_timeout=liveness_timeout,
                connect_timeout=connect_timeout,
            ),
            scripts=self._scripts,
            streams=None,
            max_backlog=max_backlog,
            max_backlog_bytes=max_backlog_bytes,
            max_outbox_bytes=max_outbox_bytes,
            on_gap=on_gap,
            impatient=in_litestar_worker,
        )
        self._unpublished = Throttle()
        # What we have in the loop that was used last, and in all loops.
        self._current: InLoop | None = None
        self._loops: dict[AbstractEventLoop, InLoop] = {}

    async def on_startup(self) -> None:
        """Connect, in the running event loop. Called by the plugin on application startup.

        An application can start while the server is away: this returns after the first attempt, and
        the connection comes when the server does. Idempotent.

        Raises:
            PermissionDenied: Wrong password, or a missing permission.
            UnsupportedServer: The server is older than Redis 6.2.
        """
        first = get_running_loop() not in self._loops
        try:
            await self._enter().session.start()
        except BaseException:
            if first:
                await self.on_shutdown()
            raise

    async def on_shutdown(self) -> None:
        """Close the connections of the running event loop. Called by the plugin on application shutdown.

        Subscriptions are forgotten, publishes under way get their exception, and generators end. The
        backend can be used again afterwards, with or without `on_startup()`. Idempotent; bounded.
        """
        current = self._loops.pop(get_running_loop(), None)
        if current is not None:
            if self._current is current:
                self._current = next(iter(self._loops.values()), None)
            await current.stop()

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Subscribe to channels: receive what is published to them after this returned.

        Returns when the server has confirmed. While it is away, returns at the latest
        `subscribe_timeout` after the outage began: what is wanted is recorded, and subscribed when the
        server is back. Subscribing again changes nothing; no channels is no command.

        Args:
            channels: Names, in any iterable.

        Raises:
            PermissionDenied: Wrong password, or the ACL user may not read a channel. The channels of
                this call are not subscribed then.
            TypeError: Not an iterable of str.
            ValueError: A name that UTF-8 can't encode.

        If it is cancelled, channels that only this call asked for are given up.
        """
        names = check_channels(channels)
        if names:
            stream = self._keys.stream
            await self._enter().session.subscribe([(name, stream(name).encode()) for name in names])

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Stop listening for events on channels; takes effect at once, also for what is buffered.

        Args:
            channels: Names, in any iterable. Unknown ones are ignored; none is no command.
        """
        names = check_channels(channels)
        if names:
            self._enter().session.unsubscribe(names)

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        """Publish data to channels, in their order, each once.

        Atomic: one command for one channel, one Lua script for any number. Without a connection or a ready
        server (READONLY, LOADING, MASTERDOWN, CLUSTERDOWN) it waits up to `publish_timeout`. It is never
        repeated blindly: after a lost reply the Streams backend looks for the event, and sends it again only
        if it certainly was not stored. A caller that is cancelled may still have published.

        Args:
            data: The payload, at most 512 MiB less 64 KiB. bytes, bytearray or memoryview.
            channels: Names, in any iterable; none is no command.

        Raises:
            BackendUnavailable: No connection or no ready server in time; nothing was published.
            PublishUncertain: The reply was lost, and whether it was published can't be known; says why.
            PermissionDenied, UnsupportedServer, BackendError: The server refused; the message says why.
                What the ACL forbids is found channel by channel: those before have got the event.
            TypeError, ValueError: The arguments are not bytes and an iterable of names.

        Called by the publish worker of Litestar's plugin (`ChannelsPlugin.publish()`), it raises none
        of these: it would end the worker, and hang the shutdown. It logs an error instead.
        """
        current = self._current
        try:
            names = check_channels(channels)
            if names:
                if type(data) is not bytes or len(data) > arguments.MAX_PAYLOAD_BYTES:
                    data = arguments.check_payload(data)
                if current is None or current.loop is not get_running_loop():
                    current = self._enter()
                session = current.session
                command = self._publish_command(data, names, session.publisher)
                if session.commands.link.ready:
                    # The hot path, without the coroutine that knows what to do when something fails.
                    sent_at = monotonic()
                    try:
                        await session.commands.post(pack(command))
                    except (ReplyError, ConnectionLost) as error:
                        await session.publisher.publish(self._slow_publish(command, names, sent_at), error)
                else:
                    await session.publisher.publish(self._slow_publish(command, names))
                current.published += 1
        except Exception as error:
            if self._is_raised(error):
                raise

    def stream_events(self) -> AsyncGenerator[tuple[str, Any], None]:
        """Return a generator, iterating over events of subscribed channels as they become available.

        Yields channel and payload (bytes), in the order in which the server published them; also across
        channels, but for what is read from a stream (missed events, large payloads). It raises nothing for an
        outage, and ends after `on_shutdown()`, or with an `anext()` that is cancelled. Several generators (a
        task needs its own, or gets RuntimeError) get every event each, from their first `anext()` on; what
        arrives while there is none, or the last one did not take, waits for the next. See `events()`, too.
        """
        return Payloads(self._delivery)

    def events(self) -> AsyncGenerator[Event | Gap, None]:
        """Return a generator like `stream_events()`, of `Event` and `Gap` objects."""
        return Events(self._delivery)

    def health(self) -> Health:
        """Return how the backend is now: connections, channels, queues, gaps, publishes. Asks no server.

        Of the running event loop; called from a thread without one, of the loop that was used last.
        """
        try:
            current = self._loops.get(get_running_loop())
        except RuntimeError:
            current = self._current
        return current.health() if current is not None else Health()

    def _is_raised(self, error: Exception) -> bool:
        """Count a publish that failed, and return whether its caller gets the exception or the log a line."""
        if (current := self._loops.get(get_running_loop())) is not None:
            current.publish_failed(error)
        if not in_litestar_worker():
            return True
        if self._unpublished.picks():
            logger.error("%d events were not published, the last: %s", self._unpublished.count, error)
        return False

    @abstractmethod
    def _publish_command(self, data: bytes, names: list[str], publisher: Publisher) -> Command:
        """Return the command that publishes to at least one channel."""

    @abstractmethod
    def _slow_publish(self, command: Command, names: list[str], sent_at: float = 0.0) -> Publish:
        """Return what the slow path has to know of a command of `_publish_command()`."""

    def _delivery(self) -> Delivery:
        return self._enter().delivery

    def _enter(self) -> InLoop:
        """Return what we have in the running event loop; the first call in a loop makes it."""
        loop = get_running_loop()
        current = self._current
        if current is not None and current.loop is loop:
            return current
        current = self._loops.get(loop)
        if current is None:
            for closed in [other for other in list(self._loops) if other.is_closed()]:
                self._loops.pop(closed, None)
            current = self._loops[loop] = InLoop(self._settings)
        self._current = current
        return current

    # Litestar's backends have this name and `_redis`; users and tests reach for both.
    def _make_key(self, channel: str) -> str:
        return self._keys.stream(channel)
