"""A backend inside one process: for tests, development and single-process applications."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from time import monotonic

from gapless._core.event import Event, Gap
from gapless._core.history import BEGINNING, id_key, resume, split_cursor
from gapless._core.item import Item
from gapless._core.names import check_channels
from gapless._core.reads import Refill
from gapless._core.subscription import Subscription
from gapless.backends import arguments
from gapless.backends.base import ChannelsBackend
from gapless.backends.consumer import Events, Payloads
from gapless.backends.consumer_health import with_consumers
from gapless.backends.delivery import Delivery
from gapless.backends.gap_log import GapLog
from gapless.health import Health, LinkHealth, PublishHealth

__all__ = ["MemoryChannelsBackend"]


# Last ids are kept so long after the last event, as the Streams backend's `resume_ttl` does by default.
RESUME_SECONDS = 24 * 3600.0


class _Stream:
    """The kept events of one channel."""

    __slots__ = ("before_first", "events", "last_id", "published_at")

    def __init__(self, history: int) -> None:
        self.events: deque[Event] = deque(maxlen=history)
        # Of what is kept.
        self.before_first = BEGINNING
        self.last_id = BEGINNING
        self.published_at = 0.0


class MemoryChannelsBackend(ChannelsBackend):
    """Channels within one process, with the semantics of `RedisChannelsStreamBackend`.

    History is kept whether or not anybody subscribes, outlives unsubscribe and `on_shutdown`, and is
    addressed by ids in the order of publishing. Use one object from one event loop at a time.

    Args:
        history: Events to keep for each channel, at least 0. 0 keeps nothing.
        stream_ttl: Forget the history of a channel so long after its last event: milliseconds or a
            timedelta, at least 1 ms; its last id is kept for 24 h. None: never, so that memory grows with
            the number of channels.
        max_backlog: Events that wait for a consumer. What exceeds it, the consumer gets from the history
            when it has taken the others; what the history does not have is counted and reported as a Gap.
        max_backlog_bytes: The same bound for their payloads.
        on_gap: Called with each `Gap`, as `RedisChannelsBackend` does.

    Raises:
        ConfigurationError: An argument is out of range or of the wrong kind.
    """

    def __init__(
        self,
        history: int = 0,
        *,
        stream_ttl: int | timedelta | None = None,
        max_backlog: int = 100_000,
        max_backlog_bytes: int = 64 * 1024 * 1024,
        on_gap: Callable[[Gap], object] | None = None,
    ) -> None:
        arguments.check_at_least(0, history=history)
        arguments.check_at_least(1, max_backlog=max_backlog, max_backlog_bytes=max_backlog_bytes)
        self._history = history
        self._ttl_seconds = (
            None if stream_ttl is None else arguments.parse_ttl_ms("stream_ttl", stream_ttl) / 1000
        )
        self._max_backlog = max_backlog
        self._max_backlog_bytes = max_backlog_bytes
        arguments.check_function(on_gap=on_gap)
        self._on_gap = on_gap
        self._gaps: GapLog | None = None
        self._published = 0
        self._link = LinkHealth(wanted=True, connected_since=datetime.now(UTC), generation=1)
        self._sequence = 0
        # By channel, the one published to longest ago first; and those whose events have expired.
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._expired: OrderedDict[str, _Stream] = OrderedDict()
        self._subscriptions: dict[str, Subscription] = {}
        self._delivery: Delivery | None = None

    async def on_startup(self) -> None:
        """Nothing to prepare."""

    async def on_shutdown(self) -> None:
        """Forget the subscriptions and end the generators; the history stays."""
        self._subscriptions.clear()
        delivery, self._delivery = self._delivery, None
        if delivery is not None and self._gaps is not None:
            delivery.close()
            self._gaps.stop()

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        """Publish data to channels, in their order, each once. Never waits.

        Raises:
            TypeError, ValueError: The arguments are not bytes and an iterable of names.
        """
        names = check_channels(channels)
        payload = arguments.check_payload(data)
        items: list[Item] = []
        for channel in names:
            event_id = self._append(channel, payload)
            subscription = self._subscriptions.get(channel)
            if subscription is not None:
                items.append((subscription, payload, b"g" + event_id.encode()))
        if items:
            consumers = self._consumers()
            consumers.put(items, len(payload) * len(items))
            consumers.wake()
        self._published += 1

    async def subscribe(self, channels: Iterable[str]) -> None:
        """Subscribe to channels: receive what is published to them after this returned."""
        for channel in check_channels(channels):
            if channel not in self._subscriptions:
                self._subscriptions[channel] = Subscription(channel, channel.encode())

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Stop listening for events on channels, also for what is buffered."""
        for channel in check_channels(channels):
            subscription = self._subscriptions.pop(channel, None)
            if subscription is not None:
                subscription.wanted = False

    def events(self) -> AsyncGenerator[Event | Gap, None]:
        """Return a generator of the events of subscribed channels, and of gaps in their place."""
        return Events(self._consumers)

    def stream_events(self) -> AsyncGenerator[tuple[str, bytes], None]:
        """Return a generator of channel and payload of each event of subscribed channels."""
        return Payloads(self._consumers)

    async def get_history(self, channel: str, limit: int | None = None) -> list[bytes]:
        """Return the newest `limit` payloads of `channel` (None: all that are kept), oldest first.

        Raises:
            ValueError: `limit` is negative.
        """
        return [event.data for event in await self.recent(channel, limit)]

    async def recent(self, channel: str, limit: int | None = None) -> list[Event]:
        """Return the same as `get_history()`, as events."""
        arguments.check_limit(limit)
        events = self._kept(channel)
        return events if limit is None else events[max(0, len(events) - limit) :]

    async def position(self, channel: str) -> str:
        """Return the id of the newest event of `channel`; ``0-0`` if none is known."""
        check_channels([channel])
        stream = self._stream(channel)
        return stream.last_id if stream else BEGINNING

    async def read(
        self,
        channel: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        max_bytes: int | None = None,  # noqa: ARG002 (nothing has to be fetched)
    ) -> list[Event | Gap]:
        """Return the kept events of `channel` after the event `after`, oldest first.

        As `RedisChannelsStreamBackend.read()`, but that it has them all in memory: `max_bytes` does nothing.
        """
        arguments.check_limit(limit)
        kept = self._kept(channel)
        if after is None:
            return [*kept[:limit]]
        # Which server it was has no meaning here: it is another one.
        after, _ = split_cursor(after)
        stream = self._stream(channel)
        entries = kept[bisect_left(kept, id_key(after), key=_key) :]
        found = resume(
            channel,
            after=after,
            entries=entries,
            oldest_id=kept[0].id if kept else None,
            last_id=stream.last_id if stream else None,
            before_first=stream.before_first if stream and entries and entries[0] is kept[0] else None,
        )
        if limit is None or not found:
            return found
        return found[: limit + isinstance(found[0], Gap)]

    def health(self) -> Health:
        """Return how the backend is now, as `RedisChannelsBackend.health()`. It is always connected."""
        channels = len(self._subscriptions)
        health = Health(
            subscriber=self._link,
            commands=self._link,
            channels_wanted=channels,
            channels_confirmed=channels,
            publishes=PublishHealth(published=self._published),
        )
        if self._delivery is None or self._gaps is None:
            return health
        return with_consumers(health, self._delivery, self._gaps)

    def _append(self, channel: str, data: bytes) -> str:
        self._sequence += 1
        event_id = f"{self._sequence}-0"
        self._expire()
        stream = self._streams.pop(channel, None) or self._expired.pop(channel, None)
        stream = self._streams[channel] = stream or _Stream(self._history)
        if len(stream.events) == self._history:
            stream.before_first = (stream.events[0].id if stream.events else None) or event_id
        stream.events.append(Event(channel, data, event_id))
        stream.last_id = event_id
        stream.published_at = monotonic()
        return event_id

    def _expire(self) -> None:
        if self._ttl_seconds is None:
            return
        now = monotonic()
        # The events go first; the last id stays, and tells a reader that it has missed nothing.
        while self._streams and now - next(iter(self._streams.values())).published_at > self._ttl_seconds:
            channel, stream = self._streams.popitem(last=False)
            stream.events.clear()
            stream.before_first = stream.last_id
            self._expired[channel] = stream
        while self._expired and now - next(iter(self._expired.values())).published_at > RESUME_SECONDS:
            self._expired.popitem(last=False)

    def _stream(self, channel: str) -> _Stream | None:
        self._expire()
        return self._streams.get(channel) or self._expired.get(channel)

    def _kept(self, channel: str) -> list[Event]:
        check_channels([channel])
        self._expire()
        stream = self._streams.get(channel)
        return list(stream.events) if stream else []

    def _refill(self, refill: Refill) -> None:
        span = refill.span
        events = self._kept(span.subscription.channel)
        start = bisect_left(events, id_key(span.first[1:].decode()), key=_key)
        end = bisect_right(events, id_key(span.last[1:].decode()), key=_key)
        refill.done([(event.data, b"g" + (event.id or "").encode()) for event in events[start:end]])

    def _consumers(self) -> Delivery:
        if self._delivery is None:
            self._gaps = GapLog(self._on_gap)
            self._delivery = Delivery(
                note=self._gaps.note,
                max_events=self._max_backlog,
                max_bytes=self._max_backlog_bytes,
                refill=self._refill if self._history else None,
            )
        return self._delivery


def _key(event: Event) -> tuple[int, int]:
    return id_key(event.id or "0-0")
