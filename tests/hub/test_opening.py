"""Subscribers whose hub, channel or owner changes its mind while they are opened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from gapless import Channels, MemoryChannelsBackend
from tests.support.waiting import until


class Slow(MemoryChannelsBackend):
    """Subscribes and unsubscribes when it is told to."""

    def __init__(self) -> None:
        super().__init__(history=10)
        self.subscribes = asyncio.Event()
        self.unsubscribes = asyncio.Event()

    async def subscribe(self, channels: Iterable[str]) -> None:
        await self.subscribes.wait()
        await super().subscribe(channels)

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        await self.unsubscribes.wait()
        await super().unsubscribe(channels)


async def test_nothing_is_left_of_a_channel_that_was_asked_for_while_it_was_given_up() -> None:
    backend = Slow()
    backend.subscribes.set()
    async with Channels(backend, linger=0.01) as hub:
        async with hub.subscribe("a"):
            pass
        upstream = hub._open.upstream  # type: ignore[union-attr]
        await until(lambda: upstream.channels["a"].state == "closing", "the end of the subscription")
        opening = asyncio.create_task(hub.subscribe("a").open())
        await asyncio.sleep(0)
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await opening
        backend.unsubscribes.set()
        await until(lambda: not upstream.channels, "the end of the channel")
        # Nor a timer that looks for it again and again.
        await until(lambda: not upstream._idle and upstream._idle_timer is None, "the end of the timer", 2)
