"""What `stream_events()` and `events()` return behaves as an async generator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from gapless import MemoryChannelsBackend


@pytest.fixture
async def backend() -> AsyncIterator[MemoryChannelsBackend]:
    backend = MemoryChannelsBackend()
    await backend.subscribe(["room"])
    yield backend
    await backend.on_shutdown()


@pytest.fixture(params=["stream_events", "events"])
def stream(backend: MemoryChannelsBackend, request: pytest.FixtureRequest) -> AsyncGenerator[Any, None]:
    made: AsyncGenerator[Any, None] = getattr(backend, request.param)()
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
    with pytest.raises(RuntimeError, match="one for each task"):
        await anext(stream)
    with pytest.raises(RuntimeError, match="one for each task"):
        await stream.aclose()
    await publish(backend, b"1", b"2")
    assert payload(await first) == b"1"
    assert payload(await anext(stream)) == b"2"


async def test_a_second_task_is_refused_between_two_bursts(
    backend: MemoryChannelsBackend, stream: AsyncGenerator[Any, None]
) -> None:
    await publish(backend, *[b"%d" % n for n in range(300)])
    # Each of these lets the event loop run once before it takes its first event.
    first, second = (asyncio.ensure_future(anext(stream)) for _ in range(2))
    assert payload(await first) == b"0"
    with pytest.raises(RuntimeError, match="anext"):
        await second
    assert [payload(await anext(stream)) for _ in range(299)] == [b"%d" % n for n in range(1, 300)]


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
    while not taken:
        await asyncio.sleep(0)
    assert len(taken) == 128
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
    assert backend.health().consumers == 0
    assert await anext(stream, None) is None


async def test_a_loop_that_was_broken_out_of_frees_its_place_at_once(backend: MemoryChannelsBackend) -> None:
    await publish(backend, b"1", b"2")
    async for _ in backend.stream_events():
        break
    assert backend.health().consumers == 0
    assert await anext(backend.stream_events()) == ("room", b"2")
