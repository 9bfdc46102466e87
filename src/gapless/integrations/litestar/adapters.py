"""A backend of one library where the other wants one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import cast

from litestar.channels import ChannelsBackend as LitestarBackend

from gapless._core.event import Event, Gap
from gapless.backends.base import ChannelsBackend


def litestar_backend(backend: ChannelsBackend) -> LitestarBackend:
    """Return `backend`, as a type checker wants it for Litestar's own `ChannelsPlugin`.

    Litestar's plugin calls the methods of a backend and asks for no class. Ours do not derive from Litestar's
    abstract class, since they work where Litestar is not installed; so there is nothing to convert.
    """
    return cast("LitestarBackend", backend)


def hub_backend(backend: ChannelsBackend | LitestarBackend) -> ChannelsBackend:
    """Return what a hub can use: the backend itself if it is ours, or one that forwards to it."""
    return ForeignBackend(backend) if isinstance(backend, LitestarBackend) else backend


def keeps_history(backend: ChannelsBackend) -> bool:
    """Return whether a hub can join the backend's history with live events."""
    return type(backend).read is not ChannelsBackend.read


class ForeignBackend(ChannelsBackend):
    """A backend that was written for Litestar, for a hub.

    Its events have no ids. Where it fails and what it loses, only it knows: the hub begins anew, with a Gap,
    if `stream_events()` raises or ends.

    Args:
        backend: It belongs to this object.
    """

    def __init__(self, backend: LitestarBackend) -> None:
        self._backend = backend

    async def on_startup(self) -> None:
        """Forward the call, as all the following do."""
        await self._backend.on_startup()

    async def on_shutdown(self) -> None:
        await self._backend.on_shutdown()

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        await self._backend.publish(data, list(channels))

    async def subscribe(self, channels: Iterable[str]) -> None:
        await self._backend.subscribe(set(channels))

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        await self._backend.unsubscribe(set(channels))

    async def events(self) -> AsyncGenerator[Event | Gap, None]:
        """Yield the events of subscribed channels."""
        async with aclosing(self._backend.stream_events()) as events:
            async for channel, data in events:
                yield Event(channel, data)

    async def get_history(self, channel: str, limit: int | None = None) -> list[bytes]:
        # Litestar's take 0 for "all".
        return [] if limit == 0 else await self._backend.get_history(channel, limit)
