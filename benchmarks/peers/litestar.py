"""Litestar's backends, as users have them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from litestar import Litestar
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.channels.backends.redis import (
    RedisChannelsPubSubBackend,
    RedisChannelsStreamBackend,
)
from redis.asyncio import Redis

from benchmarks.peers import CHANNEL, HISTORY, PREFIX, UNTRIMMED, Command
from benchmarks.peers.started import started

# Its default.
STREAM_TTL_MS = 60_000


def backend(kind: str, client: Any, keep: int = HISTORY) -> Any:
    if kind == "pubsub":
        return RedisChannelsPubSubBackend(redis=client, key_prefix=PREFIX)
    # It reads its streams from time to time: what MAXLEN trims in between would be lost.
    return RedisChannelsStreamBackend(keep, redis=client, key_prefix=PREFIX)


def open_backend(kind: str, port: int, keep: int | None) -> AbstractAsyncContextManager[Any]:
    return started(lambda client: backend(kind, client, UNTRIMMED if keep is None else keep), port)


class Hub:
    """`ChannelsPlugin` with its defaults."""

    def __init__(self, plugin: ChannelsPlugin) -> None:
        self._plugin = plugin

    async def publish(self, data: bytes) -> None:
        await self._plugin.wait_published(data, [CHANNEL])

    async def subscribe(self) -> AsyncIterator[Any]:
        subscriber = await self._plugin.subscribe([CHANNEL])
        return aiter(subscriber.iter_events())


@asynccontextmanager
async def open_hub() -> AsyncIterator[Hub]:
    async with ChannelsPlugin(MemoryChannelsBackend(HISTORY), arbitrary_channels_allowed=True) as plugin:
        yield Hub(plugin)


class Application:
    """Litestar with the route that its plugin makes."""

    def __init__(self) -> None:
        backend = MemoryChannelsBackend(HISTORY)
        self._plugin = ChannelsPlugin(backend, channels=[CHANNEL], create_ws_route_handlers=True)
        self.app = Litestar(plugins=[self._plugin])

    def clients(self) -> int:
        return len(self._plugin._channels.get(CHANNEL, ()))

    async def publish(self, data: str) -> None:
        await self._plugin.wait_published(data, [CHANNEL])


def open_application(kind: str) -> Application:  # noqa: ARG001
    return Application()


class Publisher:
    """Its own scripts, as its backends call them."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._script = backend(kind, Redis())._publish_script

    def prepare(self) -> list[Command]:
        return [("SCRIPT", "LOAD", self._script.script)]

    def publish(self, channel: str, data: bytes) -> Command:
        call = ("EVALSHA", self._script.sha, 1)
        if self._kind == "pubsub":
            return (*call, channel, data)  # its Pub/Sub channels have no prefix
        key = f"{PREFIX}_{channel.upper()}"
        return (*call, key, data, UNTRIMMED, STREAM_TTL_MS, 1, channel)
