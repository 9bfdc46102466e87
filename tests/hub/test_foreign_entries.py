"""Streams that others write to, too: their entries are left out, and nothing of ours with them."""

from __future__ import annotations

from typing import Any

import pytest

from gapless import Channels, Event, RedisChannelsStreamBackend
from tests.support.waiting import take


@pytest.mark.parametrize("others", [1, 3000])
@pytest.mark.parametrize("size", [1, 100_000])
async def test_who_comes_back_gets_what_is_behind_entries_of_others(
    client: Any, others: int, size: int
) -> None:
    backend = RedisChannelsStreamBackend(history=10_000, redis=client, cap_streams_approximate=False)
    # More than one page, in events or in bytes.
    count = 2500 if size == 1 else 30
    async with Channels(backend) as hub:
        async with hub.subscribe("a") as subscriber:
            cursor = subscriber.cursor
        payloads = [b"%d." % number + b"x" * size for number in range(count)]
        for number, payload in enumerate(payloads):
            await hub.publish(payload, "a")
            if number == count * 3 // 5:
                async with client.pipeline() as pipeline:
                    for _ in range(others):
                        pipeline.xadd(backend._make_key("a"), {"field": b"y" * min(size, 1000)})
                    await pipeline.execute()
        async with hub.subscribe("a", after=cursor) as subscriber:
            received = await take(subscriber, count)
    assert [event.data for event in received if isinstance(event, Event)] == payloads
