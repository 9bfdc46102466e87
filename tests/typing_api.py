"""The public API as a type checker sees it. This file is checked and never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta

import litestar.channels
from litestar.channels.backends.memory import MemoryChannelsBackend as LitestarMemoryBackend
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from gapless import (
    BackendError,
    Channels,
    ChannelsBackend,
    Event,
    Gap,
    MemoryChannelsBackend,
    RedisChannelsPubSubBackend,
    RedisChannelsStreamBackend,
)
from gapless import Subscriber as HubSubscriber
from gapless.integrations.litestar import ChannelsPlugin, Subscriber, litestar_backend
from gapless.integrations.starlette import EventStream, allow_all, lifespan, routes, serve_websocket
from gapless.testing import settled


async def use(client: Redis) -> None:
    streams = RedisChannelsStreamBackend(
        100, redis=client, stream_ttl=timedelta(minutes=5), key_prefix="APP", publish_timeout=2.5
    )
    forever = RedisChannelsStreamBackend(history=0, redis=client, stream_ttl=None, max_backlog=10)
    backends: list[ChannelsBackend] = [
        streams,
        forever,
        RedisChannelsPubSubBackend(redis=client, liveness_timeout=3),
        MemoryChannelsBackend(history=10),
    ]
    for backend in backends:
        await backend.on_startup()
        await backend.subscribe(name for name in ("a", "b"))
        try:
            await backend.publish(b"data", ("a", "b"))
        except BackendError as error:
            code: str | None = error.code
            print(code)
        events: AsyncGenerator[Event | Gap, None] = backend.events()
        async for event in events:
            if isinstance(event, Gap):
                lost: int | None = event.lost
                print(lost)
            else:
                data: bytes = event.data
                print(data, event.id)
        async for channel, payload in streams.stream_events():
            print(channel.upper(), payload)
        history: list[bytes] = await backend.get_history("a", limit=3)
        missed: list[Event | Gap] = await backend.read("a", after=await backend.position("a"), limit=3)
        print(history, missed)
        await backend.on_shutdown()
    deleted: int = await streams.flush_all()
    print(deleted)


async def use_hub(client: Redis) -> None:
    hub = Channels(
        RedisChannelsStreamBackend(100, redis=client),
        channels=["a", "b"],
        encoder=str,
        policy="spill",
        on_publish_error=lambda error, data, channels: print(error, data.hex(), *channels),
    )
    async with hub as entered, entered.subscribe("a", history=3, policy="disconnect") as subscriber:
        await hub.publish({"n": 1}, ["a", "b"])
        hub.publish_nowait("text", "a")
        async for item in subscriber:
            found: Event | Gap = item
            print(found.channel)
        waiting: list[Event | Gap] = await subscriber.batch()
        cursor: str | None = subscriber.cursor
        positions: dict[str, str] = subscriber.positions
        print(waiting, subscriber.stats.dropped + hub.stats.queued, subscriber.ended_by == "hub")
        again: HubSubscriber = hub.subscribe(name for name in ("a", "b"))
        await again.open()
        again.close()
        hub.subscribe("a", after=cursor)
        hub.subscribe("a", after=positions, max_backlog=10, max_backlog_bytes=1024)
        await settled(hub, seconds=1.5)


def use_starlette(hub: Channels, request: Request) -> Starlette:
    async def allowed(connection: HTTPConnection, channels: Sequence[str]) -> bool:
        return len(channels) < len(connection.headers)

    async def socket(websocket: WebSocket) -> None:
        await serve_websocket(websocket, hub, ["a"], mode="binary", policy="spill")

    response: Response = EventStream(request, hub, "a", history=3, policy="spill", retry=0.5, base64=True)
    print(response)
    made: Sequence[BaseRoute] = routes(hub, authorize=allowed, websocket_path=None, max_backlog=10)
    return Starlette(
        routes=[*made, *routes(hub, authorize=allow_all), WebSocketRoute("/", socket)], lifespan=lifespan(hub)
    )


async def use_litestar(client: Redis) -> None:
    backend = RedisChannelsStreamBackend(100, redis=client)
    litestar.channels.ChannelsPlugin(litestar_backend(backend), channels=["a"])
    ChannelsPlugin(LitestarMemoryBackend(history=3), arbitrary_channels_allowed=True)
    plugin = ChannelsPlugin(
        backend,
        channels=["a"],
        ws_send_mode="binary",
        subscriber_backlog_strategy="spill",
        on_publish_error=lambda error, data, channels: print(error, data.hex(), *channels),
        drain_timeout=2.5,
    )
    as_litestars: litestar.channels.ChannelsPlugin = plugin
    async with as_litestars, plugin.start_subscription(["a"], 3, after={"a": "1-0"}) as subscriber:
        plugin.publish({"n": 1}, "a")
        ours: Subscriber = subscriber
        theirs: litestar.channels.Subscriber = subscriber
        cursor: str | None = ours.cursor
        print(cursor, theirs.qsize)
        async for data in subscriber.iter_events():
            print(data.hex())
        async for item in subscriber:
            channel: str = item.channel
            print(channel)
        await plugin.unsubscribe(subscriber, "a")
