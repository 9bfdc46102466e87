"""`settled()`: what a test may rely on when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from gapless import Channels, ConfigurationError, Event, MemoryChannelsBackend, RedisChannelsStreamBackend
from gapless.testing import settled


async def test_what_was_published_or_queued_was_taken_by_those_who_wait() -> None:
    async with Channels(MemoryChannelsBackend(history=10)) as hub, hub.subscribe(["a", "b"]) as subscriber:
        received: list[bytes] = []

        async def consume() -> None:
            async for item in subscriber:
                assert isinstance(item, Event)
                received.append(item.data)

        consuming = asyncio.create_task(consume())
        for number in range(50):
            hub.publish_nowait(b"%d" % number, "ab"[number % 2])
        await settled(hub)
        assert sorted(map(int, received)) == [*range(50)]
        await hub.publish(b"50", "a")
        await settled(hub)
        assert received[-1] == b"50"
        assert subscriber.stats.waiting_events == 0
    await consuming


async def test_a_publish_that_is_never_confirmed_is_a_timeout() -> None:
    class Silent(MemoryChannelsBackend):
        async def publish(self, data: bytes, channels: Iterable[str]) -> None:
            await asyncio.Event().wait()

    async with Channels(Silent(), drain_timeout=0.01) as hub:
        hub.publish_nowait(b"x", "a")
        with pytest.raises(TimeoutError):
            await settled(hub, seconds=0.05)


async def test_another_backend_is_refused(client: Any) -> None:
    hub = Channels(RedisChannelsStreamBackend(10, redis=client))
    with pytest.raises(ConfigurationError, match="RedisChannelsStreamBackend"):
        await settled(hub)
