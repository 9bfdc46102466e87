"""What every backend does, whoever wrote it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from gapless._core.event import Event, Gap

__all__ = ["ChannelsBackend"]


class ChannelsBackend(ABC):
    """A broker that carries payloads from publishers to the processes that subscribe.

    Write your own by filling in the abstract methods; `gapless.testing.BackendContract` checks it.
    Any object with these methods works as ``litestar.channels.ChannelsPlugin(backend=...)``.
    """

    @abstractmethod
    async def on_startup(self) -> None:
        """Prepare for use in the running event loop. May be called again, and after `on_shutdown`."""

    @abstractmethod
    async def on_shutdown(self) -> None:
        """Release everything in the running event loop, within a bounded time. Idempotent."""

    @abstractmethod
    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        """Publish `data` to each of `channels`, in that order. No channels: nothing happens."""

    @abstractmethod
    async def subscribe(self, channels: Iterable[str]) -> None:
        """Receive what is published to `channels` after this returned. Idempotent."""

    @abstractmethod
    async def unsubscribe(self, channels: Iterable[str]) -> None:
        """Receive nothing more of `channels` after this returned. Unknown channels are ignored."""

    @abstractmethod
    def events(self) -> AsyncGenerator[Event | Gap, None]:
        """Return a generator of the events of subscribed channels, and of gaps in their place.

        It waits in this process only, raises nothing when the broker is away, and ends after
        `on_shutdown`. Several generators get every event each; what arrives while there is none
        waits for the next one, within the bounds of the backlog.
        """

    @abstractmethod
    async def get_history(self, channel: str, limit: int | None = None) -> list[bytes]:
        """Return the newest `limit` payloads of `channel` (None: all that are kept), oldest first."""

    async def stream_events(self) -> AsyncGenerator[tuple[str, Any], None]:
        """Yield channel and payload of each event; the plain face of `events()`."""
        events = self.events()
        try:
            async for event in events:
                if isinstance(event, Event):
                    yield event.channel, event.data
        finally:
            await events.aclose()

    async def recent(self, channel: str, limit: int | None = None) -> list[Event]:
        """Return the newest `limit` events of `channel` (None: all that are kept), oldest first.

        Raises:
            NotImplementedError: The backend has no history.
        """
        events = [item for item in await self.read(channel) if isinstance(item, Event)]
        return events if limit is None else events[max(0, len(events) - limit) :]

    async def position(self, channel: str) -> str | None:
        """Return where `channel` stands, for `read(after=)`, also if it has no event yet.

        Not to be compared with `Event.id`: it may say more than the id of the newest event.

        Raises:
            NotImplementedError: The backend has no ids.
        """
        raise NotImplementedError(f"{type(self).__name__} has no event ids")

    async def read(
        self,
        channel: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        max_bytes: int | None = None,
    ) -> list[Event | Gap]:
        """Return the kept events of `channel` after the event `after`, oldest first.

        Args:
            channel: The channel.
            after: Where the caller stands: the id of an event that it has, a `position()`, or the `after` of
                a Gap. None reads from the oldest kept.
            limit: At most so many events; None for all.
            max_bytes: A backend that has to fetch them may stop after so many bytes of payloads, but not
                before one event.

        Returns:
            Events; before them a Gap if events after `after` are missing, or may be.

        Raises:
            NotImplementedError: The backend has no history.
        """
        raise NotImplementedError(f"{type(self).__name__} keeps no history")
