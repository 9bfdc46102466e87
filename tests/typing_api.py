"""The public API as a type checker sees it. This file is checked and never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta

import litestar.channels
from litestar.channels.backends.memory import MemoryChannelsBackend as LitestarMemoryBackend
from redis.asyncio import Redis

from gapless import (
    BackendError,
    ChannelsBackend,
    Event,
    Gap,
    MemoryChannelsBackend,
    RedisChannelsPubSubBackend,
    RedisChannelsStreamBackend,
)
from gapless.integrations.litestar import ChannelsPlugin, Subscriber, litestar_backend


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
