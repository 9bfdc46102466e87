"""gapless, as users have it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from benchmarks.peers import CHANNEL, HISTORY, PREFIX, Command
from benchmarks.peers.started import started
from gapless import Channels, MemoryChannelsBackend
from gapless.backends.redis import (
    RedisChannelsBackend,
    RedisChannelsPubSubBackend,
    RedisChannelsStreamBackend,
)
from gapless.integrations.starlette import EventStream, lifespan, serve_websocket


def backend(kind: str, client: Any, history: int = HISTORY) -> RedisChannelsBackend:
    if kind == "pubsub":
        return RedisChannelsPubSubBackend(redis=client, key_prefix=PREFIX)
    return RedisChannelsStreamBackend(history, redis=client, key_prefix=PREFIX)


def open_backend(kind: str, port: int, keep: int | None) -> AbstractAsyncContextManager[Any]:
    # What is trimmed was pushed before.
    history = HISTORY if keep is None else keep
    return started(lambda client: backend(kind, client, history), port)


@asynccontextmanager
async def open_channels(port: int, history: int) -> AsyncIterator[Channels]:
    """Give a hub on a Streams backend, started."""
    async with Redis(host="127.0.0.1", port=port) as client:
        made = RedisChannelsStreamBackend(history, redis=client, key_prefix=PREFIX)
        async with Channels(made) as channels:
            yield channels


class Hub:
    """`Channels` with its defaults."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    async def publish(self, data: bytes) -> None:
        await self._channels.publish(data, CHANNEL)

    async def subscribe(self) -> AsyncIterator[Any]:
        subscriber = self._channels.subscribe(CHANNEL)
        await subscriber.open()
        return aiter(subscriber)


@asynccontextmanager
async def open_hub() -> AsyncIterator[Hub]:
    async with Channels(MemoryChannelsBackend(HISTORY)) as channels:
        yield Hub(channels)


class Application:
    """Starlette with our endpoints and their defaults."""

    def __init__(self) -> None:
        self._hub = Channels(MemoryChannelsBackend(HISTORY))
        self.app = Starlette(
            routes=[Route("/room", self._events), WebSocketRoute("/room", self._socket)],
            lifespan=lifespan(self._hub),
        )

    async def _events(self, request: Request) -> EventStream:
        return EventStream(request, self._hub, CHANNEL)

    async def _socket(self, socket: WebSocket) -> None:
        await serve_websocket(socket, self._hub, CHANNEL)

    def clients(self) -> int:
        return self._hub.stats.subscribers

    async def publish(self, data: str) -> None:
        await self._hub.publish(data, CHANNEL)


def open_application(kind: str) -> Application:  # noqa: ARG001
    return Application()


class Publisher:
    """The real commands, asked of a backend that never connects."""

    def __init__(self, kind: str) -> None:
        self._backend = backend(kind, Redis())
        self._publisher = asyncio.run(self._open())

    async def _open(self) -> Any:
        return self._backend._enter().session.publisher

    def prepare(self) -> list[Command]:
        return [("SCRIPT", "LOAD", self._backend._scripts[0].body)]

    def publish(self, channel: str, data: bytes) -> Command:
        return self._backend._publish_command(data, [channel], self._publisher)
