"""What subscribers see when the server is away, the backend fails, or the hub closes under them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gapless import (
    BackendError,
    BackendUnavailable,
    Channels,
    Event,
    Gap,
    HubClosed,
    MemoryChannelsBackend,
    RedisChannelsStreamBackend,
)
from gapless.hub.replays import MAX_CONCURRENT
from gapless.testing.faults import Proxy
from tests.conftest import make_client
from tests.support.servers import Server
from tests.support.waiting import take, until


@asynccontextmanager
async def behind_proxy(server: Server, **options: Any) -> AsyncIterator[tuple[Channels, Proxy, Any]]:
    """A hub, not entered, behind a proxy; and a backend of its own to publish with."""
    async with Proxy(server.port) as proxy:
        clients = [make_client(proxy), make_client(server)]  # type: ignore[arg-type]
        bounds = {"publish_timeout": 0.3, "subscribe_timeout": 0.3, "connect_timeout": 0.3} | options
        backend = RedisChannelsStreamBackend(1000, redis=clients[0], **bounds)
        publisher = RedisChannelsStreamBackend(1000, redis=clients[1])
        try:
            yield Channels(backend), proxy, publisher
        finally:
            await publisher.on_shutdown()
            for client in clients:
                await client.aclose()


def data(items: list[Event | Gap]) -> list[bytes]:
    return [item.data if isinstance(item, Event) else item.reason.encode() for item in items]


# A real server that goes away.


async def test_a_hub_starts_while_the_server_is_away(server: Server) -> None:
    async with behind_proxy(server) as (hub, proxy, publisher):
        proxy.refusing = True
        async with asyncio.timeout(10), hub, hub.subscribe(["a", "b"]) as subscriber:
            assert subscriber.cursor is None
            with pytest.raises(BackendUnavailable):
                await hub.publish(b"x", "a")
            proxy.refusing = False
            gaps = await take(aiter(subscriber), 2)
            assert sorted(gaps, key=lambda gap: gap.channel) == [
                Gap(name, None, "disconnected") for name in "ab"
            ]
            await publisher.publish(b"1", ["a"])
            assert data(await take(aiter(subscriber), 1)) == [b"1"]
            assert subscriber.cursor is not None


async def test_to_resume_while_the_server_is_away_is_an_error_in_bounded_time(server: Server) -> None:
    async with behind_proxy(server) as (hub, proxy, publisher), hub, hub.subscribe("a") as subscriber:
        await publisher.publish(b"1", ["a"])
        await take(aiter(subscriber), 1)
        cursor = subscriber.cursor
        await publisher.publish(b"2", ["a"])
        await until(lambda: subscriber.stats.waiting_events, "the event")
        proxy.refusing = True
        proxy.cut()
        async with asyncio.timeout(10):
            with pytest.raises(BackendUnavailable, match=r"connect|connection|reply"):
                await hub.subscribe("a", after=cursor).open()
            with pytest.raises(BackendUnavailable):
                await hub.subscribe("a", history=5).open()
        assert hub.stats.subscribers == 1
        proxy.refusing = False
        async with asyncio.timeout(10):
            await until_opens(hub, "a", after=cursor)
        assert data(await subscriber.batch()) == [b"2"]


async def until_opens(hub: Channels, name: str, **options: Any) -> None:
    async def opens() -> bool:
        try:
            async with hub.subscribe(name, **options) as subscriber:
                assert data(await take(aiter(subscriber), 1)) == [b"2"]
        except BackendUnavailable:
            return False
        return True

    await until(opens, "the server to be back")


async def test_what_is_missed_while_the_connection_is_cut_comes_from_the_history(server: Server) -> None:
    async with behind_proxy(server) as (hub, proxy, publisher), hub, hub.subscribe("a") as subscriber:
        stream = aiter(subscriber)
        for number in range(60):
            if number % 20 == 10:
                proxy.cut()
            await publisher.publish(b"%d" % number, ["a"])
        assert data(await take(stream, 60)) == [b"%d" % number for number in range(60)]


async def test_a_cut_during_a_read_is_read_again(server: Server) -> None:
    """For those who are in already: the history is still there."""
    async with (
        behind_proxy(server) as (hub, proxy, publisher),
        hub,
        hub.subscribe("a", policy="spill", max_backlog=5) as subscriber,
    ):
        for number in range(500):
            await publisher.publish(b"%d" % number, ["a"])
        await until(lambda: hub.stats.events == 500, "all to arrive")
        proxy.to_client.stall()
        taking = asyncio.create_task(take(aiter(subscriber), 500))
        await until(lambda: hub.stats.replays == 1, "the read")
        proxy.refusing = True
        proxy.cut()
        proxy.flow()
        await until(lambda: hub.stats.replays > 1, "the next attempt")
        proxy.refusing = False
        assert data(await taking) == [b"%d" % number for number in range(500)]
        await publisher.publish(b"500", ["a"])
        assert data(await take(aiter(subscriber), 1)) == [b"500"]
        assert subscriber.stats.dropped == 0


async def test_a_server_that_comes_back_empty_is_a_gap(own_server: Server) -> None:
    async with behind_proxy(own_server) as (hub, _, publisher), hub:
        async with hub.subscribe("a") as subscriber, hub.subscribe("a", policy="spill") as other:
            await publisher.publish(b"1", ["a"])
            for one in (subscriber, other):
                assert data(await take(aiter(one), 1)) == [b"1"]
            cursor = subscriber.cursor
            await asyncio.to_thread(own_server.restart)
            for one in (subscriber, other):
                (gap,) = await take(aiter(one), 1)
                assert isinstance(gap, Gap)
                assert gap.reason in {"reset", "restart", "rollback"}
            await publisher.publish(b"2", ["a"])
            for one in (subscriber, other):
                assert data(await take(aiter(one), 1)) == [b"2"]
        async with hub.subscribe("a", after=cursor) as subscriber:
            gap, *rest = await subscriber.batch()
            assert isinstance(gap, Gap)
            assert gap.reason in {"reset", "restart", "rollback", "trimmed"}
            assert data(rest) in ([b"2"], [])


# A backend that fails.


class Failing(MemoryChannelsBackend):
    """Does what it is told to."""

    def __init__(self) -> None:
        super().__init__(history=1000)
        self.refused: set[str] = set()
        self.before_read: Callable[[], Any] | None = None
        self.before_position: Callable[[], Any] | None = None
        self.events_calls = 0
        self.stop_events: BaseException | None = None
        self.subscribing = 0
        self.most_subscribing = 0

    async def subscribe(self, channels: Iterable[str]) -> None:
        names = list(channels)
        self.subscribing += 1
        self.most_subscribing = max(self.most_subscribing, self.subscribing)
        await asyncio.sleep(0.05)
        self.subscribing -= 1
        if self.refused.intersection(names):
            raise BackendError("refused")
        await super().subscribe(names)

    async def read(self, channel: str, **options: Any) -> list[Event | Gap]:
        if self.before_read is not None:
            await self.before_read()
        return await super().read(channel, **options)

    async def position(self, channel: str) -> str:
        if self.before_position is not None:
            await self.before_position()
        return await super().position(channel)

    async def events(self) -> AsyncGenerator[Event | Gap, None]:  # type: ignore[override]
        self.events_calls += 1
        async for item in super().events():
            yield item
            if self.stop_events is not None:
                error, self.stop_events = self.stop_events, None
                if isinstance(error, StopAsyncIteration):
                    return
                raise error


async def test_a_channel_that_cannot_be_subscribed_disturbs_no_other_one() -> None:
    backend = Failing()
    async with Channels(backend) as hub:
        backend.refused = {"bad"}
        subscribers = [hub.subscribe(f"c{number}") for number in range(20)]
        both = hub.subscribe(["c0", "bad"])
        async with asyncio.timeout(10):
            results = await asyncio.gather(
                hub.subscribe("bad").open(),
                both.open(),
                *(subscriber.open() for subscriber in subscribers),
                return_exceptions=True,
            )
        # When all at once was refused, each was tried alone, and none waited for another one.
        assert backend.most_subscribing == 21
        assert [type(result) for result in results[:2]] == [BackendError, BackendError]
        assert results[2:] == [None] * 20
        assert hub.stats.subscribers == 20
        assert hub.stats.channels == 20
        backend.refused = set()
        async with hub.subscribe("bad") as subscriber:
            await hub.publish(b"x", "bad")
            assert data(await take(aiter(subscriber), 1)) == [b"x"]
        for subscriber in subscribers:
            subscriber.close()


@pytest.mark.parametrize("error", [RuntimeError("broken"), StopAsyncIteration()], ids=["raise", "end"])
async def test_events_of_a_backend_that_stop_begin_anew_after_a_gap(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Failing()
    async with Channels(backend) as hub, hub.subscribe(["a", "b"]) as subscriber:
        stream = aiter(subscriber)
        backend.stop_events = error
        await hub.publish(b"1", "a")
        items = await take(stream, 3)
        assert data(items) == [b"1", b"disconnected", b"disconnected"]
        assert {item.channel for item in items[1:]} == {"a", "b"}
        await until(lambda: backend.events_calls == 2, "the next generator")
        await hub.publish(b"2", "b")
        assert data(await take(stream, 1)) == [b"2"]
    assert "beginning anew" in caplog.text


async def test_a_position_that_is_unknown_is_no_obstacle() -> None:
    backend = Failing()

    async def away() -> None:
        raise BackendUnavailable("away")

    backend.before_position = away
    async with Channels(backend) as hub:
        await hub.publish(b"0", "a")
        async with hub.subscribe("a") as subscriber:
            assert subscriber.cursor is None
            await hub.publish(b"1", "a")
            assert data(await take(aiter(subscriber), 1)) == [b"1"]
            cursor = subscriber.cursor
            await hub.publish(b"2", "a")
        async with hub.subscribe("a", after=cursor) as subscriber:
            assert data(await take(aiter(subscriber), 1)) == [b"2"]


async def test_what_was_published_while_the_channel_was_opened_is_not_skipped_by_who_comes_back() -> None:
    """It came before it was known where the channel stands, and is not the newest that there is."""
    backend = Failing()
    async with Channels(backend) as hub:

        async def publish() -> None:
            await hub.publish(b"1", "a")
            await until(lambda: hub.stats.events == 1, "the first to arrive")
            await hub.publish(b"2", "a")

        backend.before_position = publish
        async with hub.subscribe("a", after={"a": "1-0"}) as subscriber:
            assert data(await take(aiter(subscriber), 1)) == [b"2"]


async def test_a_read_that_fails_for_another_reason_is_told_to_who_comes_and_a_gap_to_who_is_in() -> None:
    backend = Failing()

    async def broken() -> None:
        raise RuntimeError("broken")

    async with Channels(backend) as hub:
        async with hub.subscribe("a", policy="spill", max_backlog=2) as subscriber:
            for number in range(10):
                await hub.publish(b"%d" % number, "a")
            await until(lambda: hub.stats.events == 10, "all to arrive")
            backend.before_read = broken
            assert data(await take(aiter(subscriber), 2)) == [b"0", b"backlog"]
            with pytest.raises(RuntimeError, match="broken"):
                await hub.subscribe("a", after={"a": "1-0"}).open()
            await hub.publish(b"10", "a")
            assert data(await take(aiter(subscriber), 1)) == [b"10"]
        assert hub.stats.subscribers == 0


async def test_nothing_is_kept_in_memory_while_a_read_is_tried_again_and_again() -> None:
    backend = Failing()
    away = True

    async def before_read() -> None:
        if away:
            raise BackendUnavailable("away")

    async with Channels(backend) as hub, hub.subscribe("a", policy="spill", max_backlog=2) as subscriber:
        backend.before_read = before_read
        taking = asyncio.create_task(take(aiter(subscriber), 901, seconds=30))
        for number in range(900):
            await hub.publish(b"%d" % number, "a")
            if number % 9 == 0:
                await asyncio.sleep(0)
        replays = hub.stats.replays
        await until(lambda: hub.stats.replays > replays + 2, "more attempts")
        # What came live until then is not needed: the next attempt finds it.
        for _ in range(200):
            await hub.publish(b"x", "b")
        await hub.publish(b"900", "a")
        (channel,) = hub._open.upstream.channels.values()
        (replay,) = channel.replays.values()
        assert replay.start >= 900
        away = False
        assert data(await taking) == [b"%d" % number for number in range(901)]


# A hub that closes.


@pytest.mark.parametrize("options", [{"after": {"a": "0-0"}}, {"history": 5}])
async def test_who_waits_for_a_read_when_the_hub_closes_is_told(options: dict[str, Any]) -> None:
    class Slow(Failing):
        async def recent(self, channel: str, limit: int | None = None) -> list[Event]:
            await asyncio.Event().wait()
            return []

    backend = Slow()
    backend.before_read = asyncio.Event().wait
    async with Channels(backend) as hub:
        opening = asyncio.create_task(hub.subscribe(["a", "b"], **options).open())
        await until(lambda: hub.stats.replays, "the read")
    async with asyncio.timeout(5):
        with pytest.raises(HubClosed):
            await opening


@pytest.mark.parametrize("ticks", range(10))
async def test_who_opens_while_the_hub_closes_is_told_or_ends(ticks: int) -> None:
    """At whichever moment."""
    hub = Channels(MemoryChannelsBackend(history=10))
    await hub.__aenter__()
    subscriber = hub.subscribe("a")
    opening = asyncio.create_task(subscriber.open())
    for _ in range(ticks):
        await asyncio.sleep(0)
    await hub.close()
    async with asyncio.timeout(5):
        try:
            await opening
        except HubClosed:
            return
        assert await subscriber.batch() == []
        assert subscriber.ended_by == "hub"


async def test_an_on_end_that_raises_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def on_end() -> None:
        raise RuntimeError("in on_end")

    async with Channels(MemoryChannelsBackend(history=10)) as hub:
        slow = [hub.subscribe("a", policy="disconnect", max_backlog=1) for _ in range(3)]
        others = [hub.subscribe(["a", "b"]) for _ in range(2)]
        for subscriber in [*slow, *others]:
            await subscriber.open()
            subscriber.on_end = on_end
        for number in range(5):
            await hub.publish(b"%d" % number, "a")
        for subscriber in others:
            assert data(await take(aiter(subscriber), 5)) == [b"0", b"1", b"2", b"3", b"4"]
        assert [subscriber.ended_by for subscriber in slow] == ["backlog"] * 3
    assert [subscriber.ended_by for subscriber in others] == ["hub"] * 2
    assert caplog.text.count("in on_end") >= 5


async def test_who_falls_behind_while_its_history_is_read_is_disconnected_at_once() -> None:
    """Not with the next event, which may never come."""
    backend = Failing()
    may_read = asyncio.Event()
    async with Channels(backend) as hub, hub.subscribe("a"):
        await hub.publish(b"0", "a")

        async def before_join() -> None:
            items_are_read.set()
            await may_read.wait()

        items_are_read = asyncio.Event()
        read = backend.read

        async def late(channel: str, **options: Any) -> list[Event | Gap]:
            items = await read(channel, **options)
            await before_join()
            return items

        backend.read = late  # type: ignore[method-assign]
        subscriber = hub.subscribe("a", after={"a": "0-0"}, policy="disconnect", max_backlog=2)
        opening = asyncio.create_task(subscriber.open())
        await items_are_read.wait()
        for number in range(1, 6):
            await hub.publish(b"%d" % number, "a")
        await until(lambda: hub.stats.events == 6, "all to arrive")
        may_read.set()
        async with asyncio.timeout(5):
            await opening
            items = [item async for item in subscriber]
        assert items == [Event("a", b"0", "1-0"), Gap("a", None, "backlog", 5)]
        assert subscriber.ended_by == "backlog"
        assert hub.stats.disconnected == 1


async def test_who_is_disconnected_while_another_channel_is_read_is_not_left_waiting() -> None:
    backend = Failing()
    backend.before_read = asyncio.Event().wait
    async with Channels(backend) as hub:
        subscriber = hub.subscribe(["a", "b"], after={"b": "0-0"}, policy="disconnect", max_backlog=2)
        opening = asyncio.create_task(subscriber.open())
        await until(lambda: hub.stats.replays, "the read")
        for number in range(3):
            await hub.publish(b"%d" % number, "a")
        async with asyncio.timeout(5):
            await opening
            assert [item async for item in subscriber] == [Gap("a", None, "backlog", 3)]
        assert subscriber.ended_by == "backlog"


async def test_a_read_from_before_a_channel_was_given_up_is_not_joined_when_it_is_opened_again() -> None:
    backend = Failing()
    async with Channels(backend, linger=0.01) as hub:
        async with hub.subscribe("a"):
            for number in range(100):
                await hub.publish(b"%d" % number, "a")
            await until(lambda: hub.stats.events == 100, "all to arrive")
            may_read, may_leave, leaving = asyncio.Event(), asyncio.Event(), asyncio.Event()
            backend.before_read = may_read.wait
            gone = asyncio.create_task(hub.subscribe("a", after={"a": "50-0"}).open())
            await until(lambda: hub.stats.replays == 1, "the read")
            gone.cancel()
            await asyncio.wait({gone})
        unsubscribe = backend.unsubscribe

        async def slow(channels: Iterable[str]) -> None:
            leaving.set()
            await may_leave.wait()
            await unsubscribe(channels)

        backend.unsubscribe = slow  # type: ignore[method-assign]
        async with asyncio.timeout(10):
            await leaving.wait()
            subscriber = hub.subscribe("a", after={"a": "50-0"})
            opening = asyncio.create_task(subscriber.open())
            await asyncio.sleep(0)
            may_leave.set()
            await until(lambda: hub.stats.subscribers == 1, "the new subscriber to read")
            may_read.set()
            await opening
            await hub.publish(b"100", "a")
            assert data(await take(aiter(subscriber), 50)) == [b"%d" % number for number in range(50, 100)]
            assert data(await take(aiter(subscriber), 1)) == [b"100"]
        subscriber.close()


async def test_histories_of_many_channels_are_read_a_few_at_once() -> None:
    """Or a thousand clients that come back to as many channels would fill the memory."""
    backend = Failing()
    under_way, most, may_read = 0, 0, asyncio.Event()

    async def before_read() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await may_read.wait()
        under_way -= 1

    backend.before_read = before_read
    async with Channels(backend) as hub:
        names = [f"c{number}" for number in range(3 * MAX_CONCURRENT)]
        subscribers = [hub.subscribe(name, after={name: "0-0"}) for name in names]
        opening = [asyncio.create_task(subscriber.open()) for subscriber in subscribers]
        await until(lambda: under_way == MAX_CONCURRENT, "the first reads")
        may_read.set()
        await asyncio.gather(*opening)
        assert hub.stats.replays == len(names)
        assert most == MAX_CONCURRENT
        for subscriber in subscribers:
            subscriber.close()


async def test_a_thousand_who_come_back_while_the_server_is_away_are_told_at_once() -> None:
    class Away(MemoryChannelsBackend):
        async def read(self, *arguments: Any, **options: Any) -> Any:
            # As long as the backend waits for the server.
            await asyncio.sleep(0.2)
            raise BackendUnavailable("away")

    async with Channels(Away(history=10)) as hub:
        subscribers = [
            hub.subscribe(name, after={name: "1-0"}) for name in map("room {}".format, range(1000))
        ]
        async with asyncio.timeout(15):
            results = await asyncio.gather(
                *(subscriber.open() for subscriber in subscribers), return_exceptions=True
            )
        # The first reads have failed, and nobody waited for a read of its own.
        assert hub.stats.replays <= MAX_CONCURRENT
        assert {type(result) for result in results} == {BackendUnavailable}
        assert hub.stats.subscribers == 0
