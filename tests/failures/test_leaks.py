"""Nothing grows: objects, tasks, timers and open files are where they were.

A fiftieth of the numbers in `make test`; all of it with GAPLESS_TEST_LONG=1, as in every landing.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from gapless import RedisChannelsStreamBackend
from tests.failures.test_link import push_link
from tests.support.waiting import until

LONG = bool(os.environ.get("GAPLESS_TEST_LONG"))
SCALE = 1 if LONG else 50
EVENTS = 1_000_000 // SCALE
SUBSCRIPTIONS = 100_000 // SCALE
RECONNECTS = 1_000 // SCALE

# What a cache of the interpreter, or an event that is on its way, may hold. Blocks of memory count also what
# the collector does not see: bytes, strings, numbers.
TOLERATED_OBJECTS = 300
TOLERATED_BLOCKS = 3000

pytestmark = [pytest.mark.timeout(300), pytest.mark.once]


class Census:
    """What there is at one moment; `take()` makes one."""

    @classmethod
    async def take(cls) -> Census:
        # The callback that let the caller go on holds what it waited for: of a gather, every task of it. It
        # ends with this turn of the loop.
        await asyncio.sleep(0)
        return cls()

    def __init__(self) -> None:
        loop: Any = asyncio.get_running_loop()
        _forget_cancelled_timers(loop)
        gc.collect()
        self.blocks = sys.getallocatedblocks()
        self.types = Counter(type(thing).__name__ for thing in gc.get_objects())
        self.tasks = len(asyncio.all_tasks())
        self.timers = sum(not timer.cancelled() for timer in getattr(loop, "_scheduled", []))
        self.files = len(list(Path("/proc/self/fd").iterdir()))

    def check(self, before: Census) -> None:
        grown = self.types - before.types
        assert grown.total() <= TOLERATED_OBJECTS, grown.most_common(10)
        assert self.blocks - before.blocks <= TOLERATED_BLOCKS
        assert (self.tasks, self.files) == (before.tasks, before.files)
        assert self.timers <= before.timers


def _forget_cancelled_timers(loop: Any) -> None:
    """Do what asyncio does only once a hundred were cancelled: between 0 and 100, with all that they hold, is chance."""
    kept = [timer for timer in getattr(loop, "_scheduled", []) if not timer.cancelled()]
    if kept:
        loop._scheduled[:] = kept
        heapq.heapify(loop._scheduled)
        loop._timer_cancelled_count = 0


@pytest.fixture
async def busy(client: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A backend with a consumer, and a census from a time when both had done a bit of everything."""
    # A connection that is lost at once is not made again at once, for good reason; here it would take hours.
    monkeypatch.setattr("gapless._redis.link.STABLE_SECONDS", 0.0)
    # pytest keeps each line of the log.
    monkeypatch.setattr(logging.getLogger("gapless"), "disabled", True)
    # Sweeps all the time: also just before the census, when they find events that are on their way.
    backend = RedisChannelsStreamBackend(100, redis=client, sweep_interval=0.1)
    await backend.subscribe(["room", "other"])
    consuming = asyncio.ensure_future(_consume(backend))
    yield backend
    consuming.cancel()
    await asyncio.gather(consuming, return_exceptions=True)
    await backend.on_shutdown()


async def _consume(backend: Any) -> None:
    async with aclosing(backend.events()) as events:
        async for _ in events:
            pass


async def _settled(backend: Any) -> Census:
    await until(lambda: backend.health().whole and not backend.health().queue_events, "rest")
    # Channels that are given up go on without us: sixteen commands at a time.
    subscriptions = backend._enter().session.subscriptions
    await until(lambda: not subscriptions.waiting and not subscriptions._outgoing, "the last answers")
    # A channel that was behind when a sweep came is looked at again after a second.
    repairs = backend._enter().session.repairs
    await until(lambda: not repairs.recovery.sweeping and repairs._timers.keys() == {"sweep"}, "no recheck")
    return await Census.take()


async def _publish(backend: Any, count: int) -> None:
    async def publisher() -> None:
        for _ in range(count // 100):
            await backend.publish(b"x" * 64, ["room"])

    await asyncio.gather(*(publisher() for _ in range(100)))


async def _subscribe(backend: Any, count: int) -> None:
    async def visitor(first: int) -> None:
        for number in range(first, count, 100):
            await backend.subscribe([f"room{number}"])
            await backend.publish(b"x", [f"room{number}"])
            await backend.unsubscribe([f"room{number}"])

    await asyncio.gather(*(visitor(first) for first in range(100)))


async def _reconnect(backend: Any, count: int) -> None:
    link = push_link(backend)
    for number in range(count):
        generation = link.generation
        link.renew("for the test")
        await backend.publish(b"%d" % number, ["room"])
        await until(lambda: link.generation > generation and link.connected, "the reconnect")


async def test_what_was_just_waited_for_is_no_growth() -> None:
    async def work() -> None:
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(2 * TOLERATED_OBJECTS)))

    before = await Census.take()
    await work()
    (await Census.take()).check(before)


async def test_what_is_kept_is_growth() -> None:
    before = await Census.take()
    kept = [[] for _ in range(TOLERATED_OBJECTS + 1)]
    after = await Census.take()
    with pytest.raises(AssertionError, match="list"):
        after.check(before)
    assert kept


@pytest.mark.parametrize(
    ("work", "count"),
    [(_publish, EVENTS), (_subscribe, SUBSCRIPTIONS), (_reconnect, RECONNECTS)],
    ids=["events", "subscriptions", "reconnects"],
)
async def test_nothing_grows(busy: Any, work: Callable[[Any, int], Any], count: int) -> None:
    await work(busy, max(100, count // 100))
    before = await _settled(busy)
    events = busy.health().events
    await work(busy, count)
    after = await _settled(busy)
    after.check(before)
    assert busy.health().events > events
    assert busy.health().gaps == {}
