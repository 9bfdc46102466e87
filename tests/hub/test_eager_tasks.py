"""Hubs in an event loop whose tasks begin at once: `asyncio.eager_task_factory`, of Python 3.12."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gapless import BackendUnavailable, Channels, MemoryChannelsBackend

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are of Python 3.12")


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    async def eager() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        await asyncio.wait_for(main(), 10)

    asyncio.run(eager())


def test_the_history_is_read_and_live_events_follow() -> None:
    async def main() -> None:
        async with Channels(MemoryChannelsBackend(history=10)) as hub:
            for name in "ab":
                await hub.publish("1", name)
            async with hub.subscribe(["a", "b"], history=5) as subscriber:
                await hub.publish("2", "a")
                received = [await anext(subscriber) for _ in range(3)]
                assert [event.data for event in received if event.channel == "a"] == [b"1", b"2"]

    run(main)


def test_spill_reads_on_after_what_waited() -> None:
    async def main() -> None:
        hub = Channels(MemoryChannelsBackend(history=1000), policy="spill", max_backlog=2)
        async with hub, hub.subscribe(["a", "b"]) as subscriber:
            for number in range(100):
                await hub.publish(str(number), "ab"[number % 2])
            received = [await anext(subscriber) for _ in range(100)]
            assert [int(event.data) for event in received if event.channel == "a"] == [*range(0, 100, 2)]

    run(main)


def test_a_callback_that_publishes_again_sends_nothing_twice() -> None:
    async def main() -> None:
        class Refuses(MemoryChannelsBackend):
            async def publish(self, data: bytes, channels: Any) -> None:
                if data == b"refused":
                    raise BackendUnavailable("refused")
                await super().publish(data, channels)

        def again(error: Exception, data: bytes, channels: tuple[str, ...]) -> None:
            hub.publish_nowait(b"instead of " + data, channels)

        async with Channels(Refuses(history=10), on_publish_error=again) as hub:
            hub.publish_nowait(b"refused", "a")
            while hub.stats.queued:
                await asyncio.sleep(0)
            assert hub.stats.publish_errors == 1
            assert await hub.backend.get_history("a") == [b"instead of refused"]

    run(main)
