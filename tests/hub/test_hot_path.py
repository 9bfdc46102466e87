"""What a delivery may cost, counted instead of timed: calls, callbacks, tasks, futures, reads."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Self

import pytest

import gapless
from gapless import Channels, Event, MemoryChannelsBackend, Subscriber
from tests.hub.conftest import MakeHub
from tests.support.waiting import take, until

PACKAGE = str(Path(gapless.__file__).parent / "hub")
CORE = str(Path(gapless.__file__).parent / "_core")


class Calls:
    """Counts the calls of the hub's Python functions, resumed coroutines too, and the C calls that they make."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def __enter__(self) -> Self:
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _on_event(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith((PACKAGE, CORE)):
            self.count[event] += 1


SUBSCRIBERS = 200


class Crowd:
    """Many subscribers of one channel, each with a task that takes from it."""

    def __init__(self, hub: Channels, how: str) -> None:
        self.hub = hub
        self.how = how
        self.received = 0
        self.published = 0
        self.subscribers = [hub.subscribe("a") for _ in range(SUBSCRIBERS)]
        self.tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(subscriber.open() for subscriber in self.subscribers))
        consume = {"async for": self._iterate, "batch": self._batches, "entries": self._entries}[self.how]
        self.tasks = [asyncio.create_task(consume(subscriber)) for subscriber in self.subscribers]
        await self.publish(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        for subscriber in self.subscribers:
            subscriber.close()
        await asyncio.wait(self.tasks)

    async def _iterate(self, subscriber: Subscriber) -> None:
        async for _ in subscriber:
            self.received += 1

    async def _batches(self, subscriber: Subscriber) -> None:
        while items := await subscriber.batch():
            self.received += len(items)

    async def _entries(self, subscriber: Subscriber) -> None:
        while entries := await subscriber.entries():
            subscriber.advance(len(entries))
            self.received += len(entries)

    async def publish(self, count: int) -> None:
        """Let the hub dispatch events at once, and return when all have them."""
        expected = self.received + count * SUBSCRIBERS
        hub = self.hub._open
        assert hub is not None
        for _ in range(count):
            self.published += 1
            hub.upstream._dispatch(Event("a", b"x" * 64, f"{self.published}-0"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert self.received == expected


@pytest.mark.parametrize(
    ("how", "one", "burst"),
    # Python calls and C calls per delivery: of single events, and of bursts of ten.
    [
        ("async for", (3.1, 1.1), (1.6, 0.6)),
        ("batch", (6.1, 6.1), (0.8, 0.7)),
        ("entries", (8.1, 7.1), (1.0, 0.8)),
    ],
)
async def test_calls_per_delivery(how: str, one: tuple[float, float], burst: tuple[float, float]) -> None:
    async with Channels(MemoryChannelsBackend()) as hub, Crowd(hub, how) as crowd:
        for events, rounds, (calls, c_calls) in ((1, 20, one), (10, 5, burst)):
            with Calls() as counted:
                for _ in range(rounds):
                    await crowd.publish(events)
            deliveries = rounds * events * SUBSCRIBERS
            assert counted.count["call"] / deliveries <= calls
            assert counted.count["c_call"] / deliveries <= c_calls


def hub_callbacks(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what is asked of the event loop from now on."""
    made: Counter[str] = Counter()
    for name in ("create_task", "create_future", "call_soon", "call_later", "call_at"):
        original = getattr(loop, name)

        def counting(*args: Any, _name: str = name, _original: Any = original, **options: Any) -> Any:
            made[_name] += 1
            return _original(*args, **options)

        monkeypatch.setattr(loop, name, counting)
    return made


@pytest.mark.parametrize("how", ["async for", "batch", "entries"])
async def test_no_task_no_timer_no_future_and_one_callback_per_event(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Channels(MemoryChannelsBackend()) as hub, Crowd(hub, how) as crowd:
        made = hub_callbacks(asyncio.get_running_loop(), monkeypatch)
        for _ in range(20):
            await crowd.publish(1)
        # Its own, and those of the five steps in which the publisher waits.
        assert made == {"call_soon": 20 + 20 * 5}


def futures() -> int:
    gc.collect()
    return sum(
        isinstance(found, asyncio.Future) and not isinstance(found, asyncio.Task)
        for found in gc.get_objects()
    )


async def test_a_subscriber_is_no_task_and_no_future_though_its_owner_waits(make_hub: MakeHub) -> None:
    async with make_hub() as hub, hub.subscribe("a"):
        tasks, before = len(asyncio.all_tasks()), futures()
        subscribers = [hub.subscribe("a") for _ in range(500)]
        for subscriber in subscribers:
            await subscriber.open()
        assert len(asyncio.all_tasks()) == tasks
        waiting = [asyncio.create_task(subscriber.batch()) for subscriber in subscribers]
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == tasks + 500
        assert futures() <= before + 5
        await hub.publish(b"x", "a")
        async with asyncio.timeout(15):
            assert [len(await task) for task in waiting] == [1] * 500
        for subscriber in subscribers:
            subscriber.close()


async def test_opening_a_channel_that_is_open_asks_nothing(
    make_hub: MakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_hub() as hub, hub.subscribe("a"):

        async def called(*_: Any, **__: Any) -> None:
            raise AssertionError("the backend was asked")

        for name in ("subscribe", "position", "read", "recent", "unsubscribe"):
            monkeypatch.setattr(hub.backend, name, called)
        made = hub_callbacks(asyncio.get_running_loop(), monkeypatch)
        for _ in range(100):
            subscriber = hub.subscribe("a")
            await subscriber.open()
            subscriber.close()
        made.pop("call_soon", None)
        assert not made
        monkeypatch.undo()


async def test_one_read_for_a_thousand_who_come_back_to_one_place(
    make_hub: MakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_hub({"history": 1000}) as hub:
        async with hub.subscribe("a") as subscriber:
            cursor = subscriber.cursor
            for number in range(100):
                await hub.publish(b"%d" % number, "a")
            await take(aiter(subscriber), 50)
            later = subscriber.cursor
        reads: list[str | None] = []
        read = hub.backend.read

        async def counted(channel: str, *, after: str, **options: Any) -> Any:
            reads.append(after)
            return await read(channel, after=after, **options)

        monkeypatch.setattr(hub.backend, "read", counted)
        subscribers = [hub.subscribe("a", after=later if at % 2 else cursor) for at in range(1000)]
        with Calls() as counting:
            await asyncio.gather(*(subscriber.open() for subscriber in subscribers))
        assert len(reads) == 2
        # To come back is no more than a reader, an entry in a list, and a wake-up.
        assert counting.count["call"] / 1000 <= 33
        for at, subscriber in enumerate(subscribers):
            assert len(await subscriber.batch()) == (50 if at % 2 else 100)
            subscriber.close()


async def test_events_are_stored_once_for_all(make_hub: MakeHub) -> None:
    async with make_hub() as hub:
        subscribers = [hub.subscribe("a") for _ in range(100)]
        await asyncio.gather(*(subscriber.open() for subscriber in subscribers))
        for number in range(60):
            await hub.publish(b"%d" % number, "a")
        await until(lambda: hub.stats.events == 60, "all to arrive")
        assert hub.stats.kept_events == 60
        first, *rest = [await subscriber.entries() for subscriber in subscribers]
        for entries in rest:
            assert all(mine is theirs for mine, theirs in zip(entries, first, strict=True))
        for subscriber in subscribers:
            subscriber.close()
