"""A consumer that is slower than its queue is long gets the rest from the history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from gapless import Event, Gap, MemoryChannelsBackend, RedisChannelsStreamBackend
from tests.failures.test_link import behind_proxy
from tests.failures.test_recovery import cut, numbers, publish, whole
from tests.redis.test_hot_path import command_calls
from tests.support.servers import Server
from tests.support.waiting import take, until

MakeStreams = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["streams", "memory"])
async def make_slow(request: pytest.FixtureRequest, client: Any) -> AsyncIterator[MakeStreams]:
    """Makes backends with a history."""
    made: list[Any] = []

    async def make(history: int, **options: Any) -> Any:
        backend: Any = (
            MemoryChannelsBackend(history, **options)
            if request.param == "memory"
            else RedisChannelsStreamBackend(history, redis=client, cap_streams_approximate=False, **options)
        )
        made.append(backend)
        await backend.on_startup()
        return backend

    yield make
    for backend in made:
        await backend.on_shutdown()


def backlog(backend: Any) -> Any:
    is_memory = isinstance(backend, MemoryChannelsBackend)
    delivery = backend._consumers() if is_memory else backend._delivery()
    return delivery.inboxes[0].backlog


async def test_nothing_is_lost_that_the_history_has(make_slow: MakeStreams) -> None:
    backend = await make_slow(10_000, max_backlog=10)
    await backend.subscribe(["room", "other"])
    await publish(backend, *range(2000))
    await publish(backend, *range(500), channel="other")
    async with aclosing(backend.events()) as events:
        got = await take(events, 2500)
        assert numbers([e for e in got if e.channel == "room"]) == list(range(2000))
        assert numbers([e for e in got if e.channel == "other"]) == list(range(500))
        await publish(backend, 7)
        assert numbers(await take(events, 1)) == [7]


async def test_what_the_history_does_not_have_is_counted_in_its_place(make_slow: MakeStreams) -> None:
    backend = await make_slow(100, max_backlog=10)
    await backend.subscribe(["room"])
    await publish(backend, *range(2000))
    async with aclosing(backend.events()) as events:
        got: list[Any] = []
        while b"1999" not in [item.data for item in got[-1:] if isinstance(item, Event)]:
            got += await take(events, 1)
    lost = 0
    expected = 0
    for item in got:
        if isinstance(item, Gap):
            assert item.reason == "backlog"
            assert item.lost is not None
            lost += item.lost
            expected += item.lost
        else:
            assert int(item.data) == expected
            expected += 1
    assert lost == 2000 - len(numbers(got))
    assert len(numbers(got)) >= 100


async def test_a_consumer_that_keeps_up_again_is_live_again(make_slow: MakeStreams) -> None:
    backend = await make_slow(10_000, max_backlog=100)
    await backend.subscribe(["room"])
    await publish(backend, *range(300))
    stop = asyncio.Event()
    last = 299

    async def keep_publishing() -> None:
        nonlocal last
        while not stop.is_set():
            last += 1
            await publish(backend, last)
            await asyncio.sleep(0)

    async with aclosing(backend.events()) as events:
        publisher = asyncio.ensure_future(keep_publishing())
        got = numbers(await take(events, 400))
        while backlog(backend).behind:
            got += numbers(await take(events, 1))
        stop.set()
        await publisher
        got += numbers(await take(events, last + 1 - len(got)))
    assert got == list(range(last + 1))


async def test_an_outage_while_catching_up_costs_nothing(server: Server, client: Any) -> None:
    publisher = RedisChannelsStreamBackend(10_000, redis=client)
    async with behind_proxy("streams", server, max_backlog=10) as (backend, proxy):
        await backend.subscribe(["room"])
        await publish(publisher, *range(1500))
        async with aclosing(backend.events()) as events:
            got = await take(events, 400)
            await cut(backend, proxy)
            await publish(publisher, *range(1500, 1600))
            waiting = asyncio.ensure_future(take(events, 1200))
            proxy.refusing = False
            got += await waiting
        await whole(backend)
    assert numbers(got) == list(range(1600))
    await publisher.on_shutdown()


async def test_a_shutdown_while_catching_up_ends_the_consumer_with_a_gap(make_slow: MakeStreams) -> None:
    backend = await make_slow(10_000, max_backlog=10)
    await backend.subscribe(["room"])
    await publish(backend, *range(100))
    async with aclosing(backend.events()) as events:
        got = await take(events, 10)
        # The reply to a publish can come before its push, which takes another connection.
        await until(lambda: backend.health().events == 100, "all events")
        await backend.on_shutdown()
        got += [item async for item in events]
    assert numbers(got) == list(range(len(numbers(got))))
    assert sum(item.lost for item in got if isinstance(item, Gap)) == 100 - len(numbers(got))


async def test_what_is_unsubscribed_is_not_caught_up_with(make_slow: MakeStreams) -> None:
    backend = await make_slow(10_000, max_backlog=10)
    await backend.subscribe(["room", "other"])
    await publish(backend, *range(100))
    await backend.unsubscribe(["room"])
    await publish(backend, 1, 2, channel="other")
    async with aclosing(backend.events()) as events:
        got = await take(events, 2)
        assert [(item.channel, item.data) for item in got] == [("other", b"1"), ("other", b"2")]
    assert not backlog(backend).behind


async def test_every_consumer_catches_up_by_itself(make_slow: MakeStreams) -> None:
    backend = await make_slow(10_000, max_backlog=10)
    await backend.subscribe(["room"])
    async with aclosing(backend.events()) as slow, aclosing(backend.events()) as fast:
        first = asyncio.ensure_future(anext(fast))
        second = asyncio.ensure_future(anext(slow))
        await asyncio.sleep(0)
        await publish(backend, 0)
        got = numbers([await first])
        for number in range(1, 200):
            await publish(backend, number)
            got += numbers(await take(fast, 1))
        assert got == list(range(200))
        assert numbers([await second, *await take(slow, 199)]) == list(range(200))


async def test_a_key_that_can_not_be_read_is_counted(server: Server, client: Any) -> None:
    backend = RedisChannelsStreamBackend(1000, redis=client, max_backlog=10)
    await backend.subscribe(["room", "other"])
    await publish(backend, *range(100))
    await until(lambda: backlog(backend).behind, "the queue to be full")
    key = backend._make_key("room")
    await client.delete(key)
    await client.lpush(key, "a list")
    async with aclosing(backend.events()) as events:
        await take(events, 10)
        lost = 0
        while lost < 90:
            (gap,) = await take(events, 1)
            assert isinstance(gap, Gap)
            assert (gap.reason, gap.after) == ("backlog", None)
            lost += gap.lost or 0
        assert lost == 90
        await publish(backend, 5, channel="other")
        assert numbers(await take(events, 1)) == [5]
    await backend.on_shutdown()


async def test_entries_of_another_publisher_are_not_taken_for_ours(server: Server, client: Any) -> None:
    """Litestar's backend on the same stream pushes nothing."""
    backend = RedisChannelsStreamBackend(1000, redis=client, max_backlog=10, cap_streams_approximate=False)
    await backend.subscribe(["room"])
    key = backend._make_key("room")
    for number in range(40):
        await publish(backend, number)
        await client.xadd(key, {"data": b"foreign", "channel": "room"})
    await until(lambda: backend.health().events == 40, "all events")
    async with aclosing(backend.events()) as events:
        got = await take(events, 20)
        await client.xtrim(key, maxlen=21, approximate=False)  # foreign ones and 30..39
        while not got or not isinstance(got[-1], Event) or got[-1].data != b"39":
            got += await take(events, 1)
    delivered = numbers(got)
    assert delivered == sorted(set(delivered))
    assert sum(item.lost or 0 for item in got if isinstance(item, Gap)) == 40 - len(delivered)
    assert set(range(20)) | set(range(30, 40)) <= set(delivered)
    await backend.on_shutdown()


async def test_the_queue_stays_bounded_while_it_catches_up_and_others_are_live(client: Any) -> None:
    backend = RedisChannelsStreamBackend(10_000, redis=client, max_backlog=1000)
    await backend.subscribe(["a", "b", "c", "d", "live"])
    for start in range(0, 2000, 100):
        names = ["a", "b", "c", "d"]
        await asyncio.gather(*(backend.publish(b"%d" % n, names) for n in range(start, start + 100)))
    await until(lambda: backend.health().events == 8000, "all events")
    most = 0
    got: dict[str, list[int]] = {}
    async with aclosing(backend.events()) as events:
        for number in range(8000):
            if number % 10 == 0:
                await backend.publish(b"%d" % number, ["live"])
        for _ in range(8800):
            event = await anext(events)
            assert isinstance(event, Event)
            got.setdefault(event.channel, []).append(int(event.data))
            most = max(most, backend.health().queue_events)
    assert most <= 1000
    assert got["a"] == got["b"] == got["c"] == got["d"] == list(range(2000))
    assert got["live"] == list(range(0, 8000, 10))
    await backend.on_shutdown()


async def test_a_consumer_that_left_is_caught_up_with_no_more(client: Any) -> None:
    found: list[Gap] = []
    backend = RedisChannelsStreamBackend(20, redis=client, max_backlog=10, on_gap=found.append)
    await backend.subscribe(["room"])
    stays, leaves = backend.events(), backend.events()
    waiting = [asyncio.ensure_future(anext(events)) for events in (stays, leaves)]
    await asyncio.sleep(0)
    await publish(backend, *range(200))
    await asyncio.gather(*waiting)
    await leaves.aclose()
    got = await take(stays, 10)
    while got[-1] != found and not (isinstance(got[-1], Event) and got[-1].data == b"199"):
        got += await take(stays, 1)
    lost = sum(item.lost or 0 for item in got if isinstance(item, Gap))
    assert sum(gap.lost or 0 for gap in found) == lost == backend.health().lost_events
    await stays.aclose()
    await backend.on_shutdown()


async def test_a_shutdown_tells_of_no_gap_in_what_nobody_wants(make_slow: MakeStreams) -> None:
    found: list[Gap] = []
    backend = await make_slow(10_000, max_backlog=10, on_gap=found.append)
    await backend.subscribe(["room"])
    await publish(backend, *range(100))
    async with aclosing(backend.events()) as events:
        await take(events, 5)
        await backend.unsubscribe(["room"])
        await backend.on_shutdown()
        assert [item async for item in events] == []
    assert found == []


async def test_a_read_fetches_many_events_and_the_queue_stays_bounded(server: Server, client: Any) -> None:
    backend = RedisChannelsStreamBackend(10_000, redis=client, max_backlog=1000)
    await backend.subscribe(["room"])
    for start in range(0, 9000, 100):
        await asyncio.gather(*(backend.publish(b"%d" % n, ["room"]) for n in range(start, start + 100)))
    await until(lambda: backlog(backend).behind, "the queue to be full")
    before = command_calls(server).get("xrange", 0)
    async with aclosing(backend.events()) as events:
        for _ in range(9000):
            await anext(events)
            assert len(backlog(backend).items) <= 1000
    assert command_calls(server)["xrange"] - before <= 8000 / 250 + 1
    await backend.on_shutdown()


async def test_a_channel_that_is_behind_does_not_wait_for_the_others_to_be_quiet(client: Any) -> None:
    backend = RedisChannelsStreamBackend(1000, redis=client, max_backlog=20)
    await backend.subscribe(["behind", "busy"])
    await publish(backend, *range(100), channel="behind")
    await publish(backend, 0, channel="busy")
    got: list[int] = []
    async with aclosing(backend.events()) as events:
        async with asyncio.timeout(10):
            while len(got) < 100:
                event = await anext(events)
                assert isinstance(event, Event)
                if event.channel == "behind":
                    got.append(int(event.data))
                else:
                    # A job whose handler publishes the next ones, so that the queue is never empty.
                    await publish(
                        backend, 1, 1, channel="busy"
                    ) if backend.health().queue_events < 5 else None
    assert got == list(range(100))
    await backend.on_shutdown()
