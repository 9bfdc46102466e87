"""What `stream_events()` and `events()` return behaves as an async generator."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from gapless import MemoryChannelsBackend
from gapless._core.subscription import Subscription
from gapless.backends.consumer import Events
from gapless.backends.delivery import Delivery


@pytest.fixture
async def backend() -> AsyncIterator[MemoryChannelsBackend]:
    backend = MemoryChannelsBackend()
    await backend.subscribe(["room"])
    yield backend
    await backend.on_shutdown()


@pytest.fixture(params=["stream_events", "events"])
def stream_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stream(backend: MemoryChannelsBackend, stream_name: str) -> AsyncGenerator[Any, None]:
    made: AsyncGenerator[Any, None] = getattr(backend, stream_name)()
    return made


def payload(item: Any) -> Any:
    return item[1] if isinstance(item, tuple) else item.data


async def publish(backend: MemoryChannelsBackend, *payloads: bytes) -> None:
    for data in payloads:
        await backend.publish(data, ["room"])


async def test_a_second_task_is_refused_and_the_first_gets_the_event(
    backend: MemoryChannelsBackend, stream: AsyncGenerator[Any, None]
) -> None:
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    for method, refused in (
        ("anext", anext(stream)),
        ("aclose", stream.aclose()),
        ("athrow", stream.athrow(KeyError("mine"))),
    ):
        with pytest.raises(RuntimeError, match=rf"{method}\(\): .* each task needs its own"):
            await refused
    await publish(backend, b"1", b"2")
    assert payload(await first) == b"1"
    assert payload(await anext(stream)) == b"2"


async def test_a_second_task_is_refused_between_two_bursts(
    backend: MemoryChannelsBackend, stream: AsyncGenerator[Any, None]
) -> None:
    await publish(backend, *[b"%d" % n for n in range(300)])
    taken = [payload(await anext(stream)) for _ in range(128)]
    # Each of these lets the event loop run once before it takes an event.
    first, second = (asyncio.ensure_future(anext(stream)) for _ in range(2))
    taken.append(payload(await first))
    with pytest.raises(RuntimeError, match="anext"):
        await second
    taken += [payload(await anext(stream)) for _ in range(171)]
    assert taken == [b"%d" % n for n in range(300)]


async def test_what_is_there_is_taken_without_a_tick_of_the_event_loop(
    backend: MemoryChannelsBackend, stream: AsyncGenerator[Any, None]
) -> None:
    await publish(backend, b"1", b"2")
    for data in (b"1", b"2"):
        async with asyncio.timeout(0):
            assert payload(await anext(stream)) == data


async def test_the_bytes_of_what_was_taken_are_free_again(stream_name: str) -> None:
    backend = MemoryChannelsBackend(max_backlog_bytes=1000, history=0)
    await backend.subscribe(["room"])
    stream = getattr(backend, stream_name)()
    for _ in range(5):
        # The second one would be refused if the first of before were counted still.
        await publish(backend, b"1" * 400, b"2" * 400)
        assert payload(await anext(stream)) == b"1" * 400
        assert payload(await anext(stream)) == b"2" * 400
    await stream.aclose()
    await backend.on_shutdown()


async def test_a_cancelled_wait_ends_it_and_the_next_consumer_gets_what_comes(
    backend: MemoryChannelsBackend, stream: AsyncGenerator[Any, None]
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(stream)
    assert backend.health().consumers == 0
    await publish(backend, b"1")
    assert await anext(stream, None) is None
    assert await anext(backend.stream_events()) == ("room", b"1")


async def test_the_loop_runs_after_each_burst_and_nothing_is_lost_by_a_cancellation_there(
    backend: MemoryChannelsBackend, stream: AsyncGenerator[Any, None]
) -> None:
    await publish(backend, *[b"%d" % n for n in range(300)])
    taken: list[Any] = []

    async def take_all() -> None:
        async for item in stream:
            taken.append(payload(item))

    consumer = asyncio.ensure_future(take_all())
    for burst in (1, 2):
        while len(taken) <= 128 * (burst - 1):
            await asyncio.sleep(0)
        assert len(taken) == 128 * burst
    consumer.cancel()
    await asyncio.gather(consumer, return_exceptions=True)
    rest = backend.stream_events()
    taken += [(await anext(rest))[1] for _ in range(300 - len(taken))]
    assert taken == [b"%d" % n for n in range(300)]


async def test_closing_is_final_and_leaves_what_was_not_taken(
    backend: MemoryChannelsBackend, stream: AsyncGenerator[Any, None]
) -> None:
    await publish(backend, b"1", b"2")
    assert payload(await anext(stream)) == b"1"
    assert backend.health().consumers == 1
    await stream.aclose()
    await stream.aclose()
    assert backend.health().consumers == 0
    assert await anext(stream, None) is None
    assert await anext(backend.stream_events()) == ("room", b"2")


async def test_closing_before_the_first_event(
    backend: MemoryChannelsBackend, stream: AsyncGenerator[Any, None]
) -> None:
    await stream.aclose()
    await publish(backend, b"1")
    assert [item async for item in stream] == []


async def test_a_generators_other_methods(
    backend: MemoryChannelsBackend, stream: AsyncGenerator[Any, None]
) -> None:
    await publish(backend, b"1", b"2")
    assert payload(await stream.asend(None)) == b"1"
    with pytest.raises(KeyError, match="mine"):
        await stream.athrow(KeyError("mine"))
    with pytest.raises(KeyError, match="mine"):
        await stream.athrow(KeyError, "mine")
    assert backend.health().consumers == 0
    assert await anext(stream, None) is None


async def test_a_loop_that_was_broken_out_of_frees_its_place_at_once(
    backend: MemoryChannelsBackend, stream_name: str
) -> None:
    await publish(backend, b"1", b"2")
    async for _ in getattr(backend, stream_name)():
        break
    assert backend.health().consumers == 0
    assert await anext(backend.stream_events()) == ("room", b"2")


def test_it_ends_with_its_event_loop(stream_name: str) -> None:
    backend = MemoryChannelsBackend()
    kept: list[Any] = []

    async def first() -> None:
        await backend.subscribe(["room"])
        await publish(backend, b"1")
        kept.append(getattr(backend, stream_name)())
        assert payload(await anext(kept[0])) == b"1"

    async def second() -> None:
        assert backend.health().consumers == 0
        await publish(backend, b"2")
        async with asyncio.timeout(5):
            assert await anext(kept[0], None) is None
            assert await anext(backend.stream_events()) == ("room", b"2")

    asyncio.run(first())
    asyncio.run(second())


@pytest.mark.parametrize("end", ["aclose", "athrow"])
async def test_one_that_has_ended_keeps_nothing_alive(
    backend: MemoryChannelsBackend, stream: AsyncGenerator[Any, None], end: str
) -> None:
    other = backend.stream_events()
    waiting = [asyncio.ensure_future(anext(one)) for one in (other, stream)]
    await asyncio.sleep(0)
    await publish(backend, b"1", b"2")
    await asyncio.gather(*waiting)
    assert backend._delivery is not None
    backlog = weakref.ref(backend._delivery.inboxes[1].backlog)
    assert len(backlog().items) == 1  # type: ignore[union-attr]
    gc.disable()
    try:
        if end == "aclose":
            await stream.aclose()
        else:
            with pytest.raises(KeyError):
                await stream.athrow(KeyError("mine"))
        assert backlog() is None
    finally:
        gc.enable()


class Cycle:
    """Garbage that only the collector finds."""

    def __init__(self, stream: object) -> None:
        self.stream = stream
        self.itself = self


async def test_a_consumer_that_the_collector_ends_costs_no_other_an_event() -> None:
    limits = gc.get_threshold()
    for allocations in range(1, 120):
        delivery = Delivery(max_events=1, max_bytes=100)
        streams = [Events(lambda: delivery) for _ in range(4)]
        inboxes = [stream._occupy() for stream in streams]
        delivery.put([(Subscription("room", b"room"), b"1", None)], 1)
        keep = [streams[1], streams[3]]
        Cycle(streams[0])
        Cycle(streams[2])
        del streams
        # The next event is handed to all four, and the collector runs sometime meanwhile.
        gc.set_threshold(allocations, 1000, 1000)
        try:
            delivery.put([(Subscription("room", b"room"), b"2", None)], 1)
        finally:
            gc.set_threshold(*limits)
        assert [inboxes[1].backlog.behind, inboxes[3].backlog.behind] == [True, True]
        del keep
