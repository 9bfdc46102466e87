"""Subscribers whose hub, channel or owner changes its mind while they are opened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import pytest

from gapless import BackendError, Channels, HubClosed, MemoryChannelsBackend
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


class Lost(MemoryChannelsBackend):
    """Says of one channel that it stands where no event can be."""

    async def position(self, channel: str) -> str:
        return "nonsense" if channel == "a" else await super().position(channel)


async def test_a_position_that_is_none_is_unknown() -> None:
    async with Channels(Lost(history=10)) as hub, hub.subscribe(["a", "b"]) as subscriber:
        await hub.publish(b"1", "a")
        assert (await anext(aiter(subscriber))).data == b"1"


async def test_who_is_being_opened_when_the_hub_drains_is_told_and_not_served_for_ever() -> None:
    backend = Slow()
    async with Channels(backend) as hub:
        opening = asyncio.create_task(hub.subscribe("a").open())
        await until(lambda: hub.stats.channels, "the channel")
        hub.drain()
        backend.subscribes.set()
        with pytest.raises(HubClosed):
            await opening
        assert hub.stats.subscribers == 0


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_nothing_is_left_of_a_subscriber_that_is_closed_before_it_is_open(when: str) -> None:
    backend = Slow()
    async with Channels(backend, linger=0.01) as hub:
        subscriber = hub.subscribe("a")
        if when == "before":
            subscriber.close()
        opening = asyncio.create_task(subscriber.open())
        await until(lambda: hub.stats.channels, "the channel")
        subscriber.close()
        backend.subscribes.set()
        backend.unsubscribes.set()
        with pytest.raises(HubClosed):
            await opening
        subscriber.close()
        assert hub.stats.subscribers == 0
        await until(lambda: not hub.stats.channels, "the end of the subscription")


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


async def test_a_channel_that_was_used_again_is_kept_for_as_long_from_then_on() -> None:
    async with Channels(MemoryChannelsBackend(history=10), linger=60) as hub:
        for _ in range(2):
            async with hub.subscribe("a"):
                pass
            # As if the timer was due that was set when it was left for the first time.
            hub._open.upstream._close_idle()  # type: ignore[union-attr]
            await asyncio.sleep(0)
            assert hub.stats.channels == 1


async def test_to_subscribe_in_another_event_loop_is_an_error_that_says_so() -> None:
    async def elsewhere() -> None:
        async with asyncio.timeout(5), hub.subscribe("a"):
            pass

    async with Channels(MemoryChannelsBackend(history=10)) as hub:
        with pytest.raises(HubClosed, match="another event loop"):
            await asyncio.to_thread(asyncio.run, elsewhere())
        async with hub.subscribe("a") as subscriber:
            await hub.publish("x", "a")
            assert len(await subscriber.batch()) == 1


async def test_many_channels_are_subscribed_in_one_call() -> None:
    calls: list[list[str]] = []

    class Counting(MemoryChannelsBackend):
        async def subscribe(self, channels: Iterable[str]) -> None:
            calls.append([*channels])
            await super().subscribe(calls[-1])

    names = [f"c{number}" for number in range(100)]
    async with Channels(Counting(history=10)) as hub, hub.subscribe(names):
        assert calls == [names]


async def test_who_opens_several_channels_is_told_when_the_hub_closes_after_the_first() -> None:
    class OneByOne(MemoryChannelsBackend):
        async def subscribe(self, channels: Iterable[str]) -> None:
            names = [*channels]
            if len(names) > 1:
                raise BackendError("one by one")
            if names == ["b"]:
                await asyncio.Event().wait()

    hub = Channels(OneByOne(history=10))
    async with hub:
        upstream = hub._open.upstream  # type: ignore[union-attr]
        opening = asyncio.create_task(hub.subscribe(["a", "b"]).open())
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while upstream.channels["a"].state != "open":
                await asyncio.sleep(0)
    with pytest.raises(HubClosed):
        await asyncio.wait_for(opening, 5)


async def test_who_opens_several_channels_is_told_of_the_one_that_failed_for_another() -> None:
    gates = {"a": asyncio.Event(), "b": asyncio.Event()}
    refuses = True

    class Refusing(MemoryChannelsBackend):
        async def subscribe(self, channels: Iterable[str]) -> None:
            names = [*channels]
            for name in names:
                await gates[name].wait()
            if refuses and names == ["b"]:
                raise BackendError("refused")
            await super().subscribe(names)

    async with Channels(Refusing(history=10)) as hub:
        first = asyncio.create_task(hub.subscribe("b").open())
        await until(lambda: hub.stats.channels == 1, "the first")
        second = asyncio.create_task(hub.subscribe(["a", "b"]).open())
        await until(lambda: hub.stats.channels == 2, "the second")
        gates["b"].set()
        with pytest.raises(BackendError):
            await first
        gates["a"].set()
        refuses = False
        with pytest.raises(BackendError):
            await asyncio.wait_for(second, 5)
        async with hub.subscribe(["a", "b"]) as subscriber:
            await hub.publish("x", "b")
            assert len(await asyncio.wait_for(subscriber.batch(), 5)) == 1
