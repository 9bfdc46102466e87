"""`publish_nowait()`: in order, bounded, and nothing is lost without a word."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from gapless import BackendUnavailable, Channels, Event, HubClosed, MemoryChannelsBackend
from gapless.hub.outbox import MAX_CONCURRENT
from tests.hub.conftest import MakeHub
from tests.support.waiting import take, until


class Backend(MemoryChannelsBackend):
    """Publishes when it is let, and fails for some channels."""

    def __init__(self) -> None:
        super().__init__(history=1000)
        self.may_publish = asyncio.Event()
        self.may_publish.set()
        self.under_way = 0
        self.most_under_way = 0

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.may_publish.wait()
            # Later ones would overtake earlier ones, if they could.
            await asyncio.sleep(0.001 if data.endswith(b"0") else 0)
        finally:
            self.under_way -= 1
        if "bad" in channels:
            raise BackendUnavailable("refused")
        await super().publish(data, channels)


async def test_what_is_queued_is_sent_when_the_hub_closes(make_hub: MakeHub) -> None:
    errors: list[Any] = []
    hub = make_hub(on_publish_error=lambda *error: errors.append(error))
    async with hub:
        for number in range(50):
            hub.publish_nowait(b"%d" % number, "a")
    assert errors == []
    async with hub:
        assert await hub.backend.get_history("a") == [b"%d" % number for number in range(50)]


async def test_the_order_of_each_channel_is_kept(make_hub: MakeHub) -> None:
    async with make_hub() as hub, hub.subscribe(["a", "b"]) as subscriber:
        for number in range(60):
            hub.publish_nowait(b"%d" % number, "ab"[number % 2])
        hub.publish_nowait(b"60", ["a", "b"])
        items = await take(aiter(subscriber), 62)
        for at, name in enumerate("ab"):
            numbers = [int(item.data) for item in items if item.channel == name]
            assert numbers == [*range(at, 60, 2), 60]
        await until(lambda: hub.stats.queued == 0, "the queue to be empty")
        assert hub.stats.published == 61


async def test_channels_are_sent_at_once_and_each_in_order() -> None:
    backend = Backend()
    async with Channels(backend) as hub:
        for number in range(200):
            hub.publish_nowait(b"%d" % number, f"c{number % 10}")
        await until(lambda: hub.stats.queued == 0, "all to be sent")
        assert backend.most_under_way == 10
        for name in range(10):
            history = await backend.get_history(f"c{name}")
            assert history == [b"%d" % number for number in range(name, 200, 10)]


async def test_no_more_than_a_hundred_are_under_way_at_once() -> None:
    backend = Backend()
    async with Channels(backend) as hub:
        backend.may_publish.clear()
        for number in range(3 * MAX_CONCURRENT):
            hub.publish_nowait(b"x", f"c{number}")
        await until(lambda: backend.under_way == MAX_CONCURRENT, "the first hundred")
        backend.may_publish.set()
        await until(lambda: hub.stats.published == 3 * MAX_CONCURRENT, "all to be sent")
        assert backend.most_under_way == MAX_CONCURRENT


async def test_a_full_queue_refuses_and_goes_on_when_there_is_room() -> None:
    backend = Backend()
    async with Channels(backend, max_queue=3) as hub:
        backend.may_publish.clear()
        for number in range(3):
            hub.publish_nowait(b"%d" % number, "a")
        with pytest.raises(BackendUnavailable, match="max_queue=3"):
            hub.publish_nowait(b"x", "a")
        backend.may_publish.set()
        await until(lambda: hub.stats.queued == 0, "the queue to be empty")
        hub.publish_nowait(b"3", "a")
        await until(lambda: hub.stats.published == 4, "the last one")
        assert await backend.get_history("a") == [b"0", b"1", b"2", b"3"]
        assert hub.stats.publish_errors == 0


async def test_a_queue_is_full_by_bytes_too_but_takes_one_of_any_size() -> None:
    backend = Backend()
    async with Channels(backend, max_queue_bytes=10) as hub:
        backend.may_publish.clear()
        hub.publish_nowait(b"x" * 100, "a")
        with pytest.raises(BackendUnavailable, match="100 bytes"):
            hub.publish_nowait(b"y", "a")
        backend.may_publish.set()
        await until(lambda: hub.stats.queued == 0, "the queue to be empty")
        hub.publish_nowait(b"y" * 10, "a")
        with pytest.raises(BackendUnavailable):
            hub.publish_nowait(b"z", "a")
        await until(lambda: hub.stats.published == 2, "the second one")


async def test_errors_are_counted_and_told_and_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[Exception, bytes, tuple[str, ...]]] = []

    def on_error(error: Exception, data: bytes, channels: tuple[str, ...]) -> None:
        told.append((error, data, channels))
        raise RuntimeError("in the callback")

    async with Channels(Backend(), on_publish_error=on_error) as hub:
        for number in range(6):
            hub.publish_nowait(b"%d" % number, "bad" if number % 2 else "good")
        await until(lambda: hub.stats.queued == 0, "all to be tried")
        assert hub.stats.publish_errors == 3
        assert hub.stats.published == 3
        assert [(data, channels) for _, data, channels in told] == [(b"%d" % n, ("bad",)) for n in (1, 3, 5)]
        assert all(isinstance(error, BackendUnavailable) for error, _, _ in told)
    assert "3 publishes failed" not in caplog.text
    assert "2 publishes failed" in caplog.text


async def test_what_cannot_be_sent_in_time_is_given_up_and_told() -> None:
    told: list[tuple[Exception, bytes, tuple[str, ...]]] = []
    backend = Backend()
    hub = Channels(backend, drain_timeout=0.05, on_publish_error=lambda *error: told.append(error))
    async with asyncio.timeout(5):
        async with hub:
            backend.may_publish.clear()
            for number in range(5):
                hub.publish_nowait(b"%d" % number, "ab"[number % 2])
            await until(lambda: backend.under_way == 2, "the first two to be under way")
    assert sorted(data for _, data, _ in told) == [b"0", b"1", b"2", b"3", b"4"]
    assert all("closed" in str(error) for error, _, _ in told)
    assert backend.under_way == 0


async def test_a_cancelled_close_still_tells_and_stops() -> None:
    told: list[Any] = []
    backend = Backend()
    hub = Channels(backend, drain_timeout=60, on_publish_error=lambda *error: told.append(error))
    await hub.__aenter__()
    subscriber = hub.subscribe("a")
    await subscriber.open()
    backend.may_publish.clear()
    hub.publish_nowait(b"x", "a")
    closing = asyncio.create_task(hub.close())
    await until(lambda: backend.under_way == 1, "the publish to be under way")
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert len(told) == 1
    assert subscriber.ended_by == "hub"
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"gapless hub", "gapless outbox"})


async def test_an_error_callback_may_publish_again() -> None:
    backend = Backend()

    def again(_: Exception, data: bytes, __: tuple[str, ...]) -> None:
        hub.publish_nowait(data, "good")

    async with Channels(backend, on_publish_error=again) as hub, hub.subscribe("good") as subscriber:
        hub.publish_nowait(b"1", "bad")
        assert await take(aiter(subscriber), 1) == [Event("good", b"1", "1-0")]


async def test_nothing_is_queued_by_a_closed_hub() -> None:
    hub = Channels(Backend())
    with pytest.raises(HubClosed, match="not open"):
        hub.publish_nowait(b"x", "a")


async def test_a_backend_that_cancels_a_publish_does_not_have_others_sent_twice() -> None:
    class Cancels(MemoryChannelsBackend):
        async def publish(self, data: bytes, channels: Iterable[str]) -> None:
            if data == b"cancelled":
                raise asyncio.CancelledError
            await super().publish(data, channels)

    errors: list[Any] = []
    async with Channels(Cancels(history=10), on_publish_error=lambda *error: errors.append(error)) as hub:
        for data, name in ((b"1", "a"), (b"cancelled", "b"), (b"2", "c")):
            hub.publish_nowait(data, name)
        await until(lambda: errors, "the error", 5)
        hub.publish_nowait(b"3", "a")
        await until(lambda: hub.stats.queued == 0, "all to be sent", 5)
        assert await hub.backend.get_history("a") == [b"1", b"3"]
        assert await hub.backend.get_history("c") == [b"2"]
        assert [(data, names) for _, data, names in errors] == [(b"cancelled", ("b",))]
