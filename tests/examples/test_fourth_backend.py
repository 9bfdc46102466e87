"""Somebody else's backend under the shipped suite, and the suite's power to fail."""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gapless import ChannelsBackend, Event, Gap, MemoryChannelsBackend
from gapless.testing import BackendContract


class MyBackend(ChannelsBackend):
    """The least that a backend can be: one queue for each consumer, no history."""

    def __init__(self) -> None:
        self._channels: set[str] = set()
        self._queues: list[asyncio.Queue[Event | None]] = []
        self._spare: asyncio.Queue[Event | None] | None = asyncio.Queue()

    async def on_startup(self) -> None:
        pass

    async def on_shutdown(self) -> None:
        self._channels.clear()
        for queue in self._queues:
            queue.put_nowait(None)
        self._queues.clear()
        self._spare = asyncio.Queue()

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        names = _checked(channels)
        if not isinstance(data, bytes):
            raise TypeError("data must be bytes")
        for channel in names:
            if channel in self._channels:
                for queue in self._queues or [self._spare]:
                    assert queue is not None
                    queue.put_nowait(Event(channel, data))

    async def subscribe(self, channels: Iterable[str]) -> None:
        self._channels.update(_checked(channels))

    async def unsubscribe(self, channels: Iterable[str]) -> None:
        gone = set(_checked(channels)) & self._channels
        self._channels -= gone
        for queue in [*self._queues, self._spare]:
            if queue is not None:
                for _ in range(queue.qsize()):
                    event = queue.get_nowait()
                    if event is None or event.channel not in gone:
                        queue.put_nowait(event)

    async def events(self) -> AsyncGenerator[Event | Gap, None]:
        queue = self._spare or asyncio.Queue()
        self._spare = None
        self._queues.append(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            if queue in self._queues:
                self._queues.remove(queue)
                if not self._queues:
                    self._spare = queue

    async def get_history(self, channel: str, limit: int | None = None) -> list[bytes]:
        raise NotImplementedError


def _checked(channels: Iterable[str]) -> list[str]:
    if isinstance(channels, str):
        raise TypeError("channels must be an iterable of names")
    names = list(dict.fromkeys(channels))
    for name in names:
        if not isinstance(name, str):
            raise TypeError("a name must be a str")
        name.encode()
    return names


class TestMyBackend(BackendContract):
    keeps_history = False

    @asynccontextmanager
    async def open_backend(self) -> AsyncIterator[ChannelsBackend]:
        yield MyBackend()


class Broken(MemoryChannelsBackend):
    """The memory backend with one bug planted."""


class LosesOrder(Broken):
    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        await super().publish(data, channels if isinstance(channels, str) else sorted(set(channels)))


class DeliversTwice(Broken):
    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        await super().publish(data, channels)
        await super().publish(data, channels)


class UpperCases(Broken):
    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        await super().publish(data, [name.upper() for name in channels])

    async def subscribe(self, channels: Iterable[str]) -> None:
        await super().subscribe([name.upper() for name in channels])


class ForgetsToUnsubscribe(Broken):
    async def unsubscribe(self, channels: Iterable[str]) -> None:
        pass


class ReturnsNewestFirst(Broken):
    async def get_history(self, channel: str, limit: int | None = None) -> list[bytes]:
        return (await super().get_history(channel, limit))[::-1]


class IgnoresTrimming(Broken):
    async def read(self, channel: str, **options: Any) -> list[Event | Gap]:
        return [event for event in await super().read(channel, **options) if isinstance(event, Event)]


@pytest.mark.parametrize(
    ("broken", "finder"),
    [
        (LosesOrder, "test_a_channel_named_twice_gets_the_event_once"),
        (DeliversTwice, "test_subscribing_twice_delivers_once"),
        (UpperCases, "test_channel_names_are_exact"),
        (ForgetsToUnsubscribe, "test_nothing_comes_after_unsubscribe_not_even_what_was_buffered"),
        (ReturnsNewestFirst, "test_history_is_the_newest_events_oldest_first"),
        (IgnoresTrimming, "test_reading_on_from_an_id"),
    ],
)
def test_the_suite_finds_a_planted_bug(broken: type[Broken], finder: str) -> None:
    class Suite(BackendContract):
        __test__ = False
        time_limit_seconds = 0.5

        @asynccontextmanager
        async def open_backend(self) -> AsyncIterator[ChannelsBackend]:
            yield broken(history=10)

    suite = Suite()
    failed = []
    for name in dir(suite):
        if name.startswith("test_"):
            try:
                getattr(suite, name)()
            except (AssertionError, TimeoutError):
                failed.append(name)
    assert finder in failed


def test_the_suite_runs_under_unittest() -> None:
    class Suite(BackendContract, unittest.TestCase):
        __test__ = False

        @asynccontextmanager
        async def open_backend(self) -> AsyncIterator[ChannelsBackend]:
            yield MemoryChannelsBackend(history=10)

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Suite).run(result)
    assert result.testsRun >= 20
    assert result.wasSuccessful()
