"""What hangs, leaks or is lost with Litestar's own plugin (L1 to L5 and others), and not with ours.

GAPLESS_TEST_PLUGIN=litestar runs these tests against Litestar's plugin: each fails there, unless it says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from typing import Any

import anyio
import pytest

from gapless import BackendError, BackendUnavailable, MemoryChannelsBackend, RedisChannelsStreamBackend
from gapless.integrations.litestar import ChannelsException
from tests.conftest import make_client
from tests.integrations.conftest import MakePlugin, plugin_class
from tests.support.servers import Server
from tests.support.waiting import take, until


class Broken(MemoryChannelsBackend):
    """A backend that fails when it is told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"history": 100} | options)
        self.fail: set[str] = set()
        self.hold = asyncio.Event()
        self.hold.set()
        self.subscribing = asyncio.Event()

    async def publish(self, data: bytes, channels: Any) -> None:
        if data == b"fail":
            raise BackendError("no")
        await super().publish(data, channels)

    async def subscribe(self, channels: Any) -> None:
        if "subscribe" in self.fail:
            raise BackendError("no")
        self.subscribing.set()
        await self.hold.wait()
        await super().subscribe(channels)

    async def unsubscribe(self, channels: Any) -> None:
        await asyncio.sleep(0.05)
        await super().unsubscribe(channels)

    async def recent(self, channel: str, limit: int | None = None) -> Any:
        if "history" in self.fail:
            raise BackendError("no")
        return await super().recent(channel, limit)

    async def get_history(self, channel: str, limit: int | None = None) -> list[bytes]:
        if "history" in self.fail:
            raise BackendError("no")
        return await super().get_history(channel, limit)


@pytest.fixture
def broken() -> Broken:
    return Broken()


def make(backend: Any, **options: Any) -> Any:
    return plugin_class()(backend, **{"channels": ["a", "b"]} | options)


def only_ours(**options: Any) -> dict[str, Any]:
    """Return options that Litestar's plugin does not have."""
    return options if plugin_class().__module__.startswith("gapless") else {}


async def ignore(_data: bytes) -> None:
    pass


async def test_l1_a_drop_does_not_keep_run_in_background_from_ending(broken: Broken) -> None:
    plugin = make(broken, subscriber_max_backlog=2, subscriber_backlog_strategy="dropleft")
    async with plugin:
        subscriber = await plugin.subscribe("a")
        for number in range(100):
            await plugin.wait_published(b"%d" % number, "a")
        await until(lambda: subscriber.qsize == 2, "the drop")
        async with asyncio.timeout(5):
            async with subscriber.run_in_background(ignore):
                pass
        assert subscriber.qsize == 0


async def test_l2_a_callback_that_fails_is_told_when_the_context_is_left(broken: Broken) -> None:
    async def fails(_data: bytes) -> None:
        raise OSError("the socket is closed")

    async with make(broken) as plugin:
        subscriber = await plugin.subscribe("a")
        with pytest.raises(OSError, match="the socket is closed"):
            async with asyncio.timeout(5), subscriber.run_in_background(fails):
                for number in range(10):
                    await plugin.wait_published(b"%d" % number, "a")
                await until(subscriber._task.done, "the failure")
        await plugin.unsubscribe(subscriber)
        assert not subscriber.is_running
        assert plugin.hub.stats.subscribers == 0
        assert not plugin.running


async def test_l3_a_full_backlog_does_not_keep_unsubscribe_from_ending(broken: Broken) -> None:
    async with make(broken, subscriber_max_backlog=1) as plugin:
        subscriber = await plugin.subscribe("a")
        for number in range(100):
            await plugin.wait_published(b"%d" % number, "a")
        await until(lambda: subscriber.qsize == 1, "the overflow")
        await asyncio.wait_for(plugin.unsubscribe(subscriber), 5)
        # What waited is not lost.
        assert [event async for event in subscriber.iter_events()] == [b"0"]


async def test_l4_who_subscribes_while_the_last_one_unsubscribes_gets_events(broken: Broken) -> None:
    async with make(broken) as plugin:
        first = await plugin.subscribe("a")
        leaving = asyncio.create_task(plugin.unsubscribe(first))
        await asyncio.sleep(0)
        second = await plugin.subscribe("a")
        await leaving
        await plugin.wait_published(b"x", "a")
        assert await take(second.iter_events(), 1, 5) == [b"x"]


async def test_l5_generators_are_read_once(broken: Broken) -> None:
    async with make(broken) as plugin:
        await plugin.wait_published(b"x", (name for name in ("a", "b")))
        async with plugin.start_subscription((name for name in ("a", "b")), history=1) as subscriber:
            assert await take(subscriber.iter_events(), 2, 5) == [b"x", b"x"]
        assert [event async for event in subscriber.iter_events()] == []


async def test_l5_an_unknown_second_channel_leaves_nothing_of_the_first(broken: Broken) -> None:
    async with make(broken) as plugin:
        with pytest.raises(ChannelsException, match="unknown"):
            await plugin.subscribe(["a", "unknown"])
        assert not any(plugin._channels.values())
        assert plugin.hub.stats.channels == 0


async def test_l5_channels_that_nobody_uses_are_forgotten(broken: Broken) -> None:
    async with make(
        broken, channels=None, arbitrary_channels_allowed=True, **only_ours(linger=0.01)
    ) as plugin:
        for number in range(50):
            async with plugin.start_subscription(f"user-{number}"):
                pass
        assert not plugin._channels
        await until(lambda: plugin.hub.stats.channels == 0, "the end of the subscriptions")


async def test_a_publish_that_fails_does_not_keep_others_from_being_sent(broken: Broken) -> None:
    """#5008."""
    async with asyncio.timeout(5):
        async with make(broken) as plugin:
            subscriber = await plugin.subscribe("a")
            plugin.publish(b"fail", "a")
            plugin.publish(b"x", "a")
            assert await take(subscriber.iter_events(), 1, 2) == [b"x"]


async def test_a_publish_that_fails_is_logged_counted_and_told(
    broken: Broken, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    plugin = make(broken, on_publish_error=lambda *error: told.append(error))
    async with plugin:
        with caplog.at_level(logging.ERROR, "gapless"):
            plugin.publish(b"fail", ["a", "b"])
            await until(lambda: told, "the error")
        assert plugin.hub.stats.publish_errors == 1
        with pytest.raises(BackendError):
            await plugin.wait_published(b"fail", "a")
    assert str(told[0][0]) == "no"
    assert told[0][1:] == (b"fail", ("a", "b"))
    assert "1 publishes failed" in caplog.text


async def test_publishes_that_never_end_do_not_keep_the_application_from_ending(broken: Broken) -> None:
    async def hangs(_data: bytes, _channels: Any) -> None:
        await asyncio.Event().wait()

    broken.publish = hangs  # type: ignore[method-assign]
    plugin = make(broken, **only_ours(drain_timeout=0.2))
    async with asyncio.timeout(5):
        async with plugin:
            for _ in range(10):
                plugin.publish(b"x", "a")
    assert plugin.hub.backend.health().publishes.published == 0


async def test_a_callback_that_never_returns_does_not_keep_the_context_from_ending(
    broken: Broken, caplog: pytest.LogCaptureFixture
) -> None:
    async def hangs(_data: bytes) -> None:
        await asyncio.Event().wait()

    plugin = make(broken, **only_ours(drain_timeout=0.2))
    async with asyncio.timeout(5), plugin:
        subscriber = await plugin.subscribe("a")
        await plugin.wait_published(b"x", "a")
        await plugin.wait_published(b"y", "a")
        await until(lambda: subscriber.qsize == 2, "the events")
        with caplog.at_level(logging.ERROR, "gapless"):
            async with subscriber.run_in_background(hangs):
                await asyncio.sleep(0)
    assert "did nothing for 0.2 s; 1 events are left" in caplog.text


async def test_a_callback_that_swallows_its_cancellation_is_cancelled_again(broken: Broken) -> None:
    swallowed = 0
    begun = asyncio.Event()

    async def swallows(_data: bytes) -> None:
        nonlocal swallowed
        begun.set()
        while swallowed < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 2:
                    raise

    async with make(broken) as plugin:
        subscriber = await plugin.subscribe("a")
        await plugin.wait_published(b"x", "a")
        async with asyncio.timeout(5) as patience:
            async with subscriber.run_in_background(swallows, join=False):
                await begun.wait()
        assert not patience.expired()
        assert swallowed == 2


async def test_a_context_that_is_cancelled_while_it_is_left_is_left(broken: Broken) -> None:
    begun = asyncio.Event()

    async def cleans_up(_data: bytes) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)

    async with make(broken) as plugin:
        subscriber = await plugin.subscribe("a")
        await plugin.wait_published(b"x", "a")
        # As anyio does it: again at each await, until the scope is left.
        with anyio.move_on_after(10) as scope:
            async with subscriber.run_in_background(cleans_up):
                await begun.wait()
                scope.cancel()
                await asyncio.sleep(0)
        assert not subscriber.is_running
        assert not plugin.running
        async with subscriber.run_in_background(cleans_up, join=False):
            pass


async def test_what_waits_is_handled_when_the_context_is_left_and_no_more(broken: Broken) -> None:
    """Also while others go on publishing: Litestar's waits for as long as they do."""
    received: list[bytes] = []

    async def on_event(data: bytes) -> None:
        received.append(data)
        # One more for each that is handled.
        await plugin.wait_published(b"more", "a")
        await asyncio.sleep(0)

    async with make(broken) as plugin:
        subscriber = await plugin.subscribe("a")
        for number in range(5):
            await plugin.wait_published(b"%d" % number, "a")
        await until(lambda: subscriber.qsize == 5, "the events")
        async with asyncio.timeout(5):
            async with subscriber.run_in_background(on_event):
                pass
        assert received[:5] == [b"0", b"1", b"2", b"3", b"4"]
        assert len(received) < 10
        # It can be taken from again.
        assert await take(subscriber.iter_events(), 1, 5) == [b"more"]


async def test_a_callback_may_unsubscribe_its_own_subscriber(broken: Broken) -> None:
    received: list[bytes] = []

    async def on_event(data: bytes) -> None:
        received.append(data)
        await plugin.unsubscribe(subscriber)

    async with make(broken) as plugin:
        subscriber = await plugin.subscribe("a")
        for number in range(5):
            await plugin.wait_published(b"%d" % number, "a")
        async with asyncio.timeout(5):
            async with subscriber.run_in_background(on_event):
                await until(subscriber._task.done, "the end")
    assert received == [b"0"]


@pytest.mark.parametrize("what", ["subscribe", "history"])
async def test_a_subscribe_that_fails_leaves_nothing(broken: Broken, what: str) -> None:
    """#4871."""
    async with make(broken, channels=["a"]) as plugin:
        broken.fail = {what}
        with pytest.raises(BackendError):
            await plugin.subscribe("a", history=1)
        broken.fail = set()
        assert not any(plugin._channels.values())
        subscriber = await plugin.subscribe("a", history=1)
        await plugin.wait_published(b"x", "a")
        assert await take(subscriber.iter_events(), 1, 5) == [b"x"]
        assert plugin.hub.stats.subscribers == 1


async def test_a_subscribe_that_is_cancelled_leaves_nothing(broken: Broken) -> None:
    """#4871."""
    async with make(broken, channels=None, arbitrary_channels_allowed=True) as plugin:
        broken.hold.clear()
        subscribing = asyncio.create_task(plugin.subscribe("a"))
        await asyncio.wait_for(broken.subscribing.wait(), 5)
        subscribing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await subscribing
        broken.hold.set()
        assert not any(plugin._channels.values())
        subscriber = await plugin.subscribe("a")
        await plugin.wait_published(b"x", "a")
        assert await take(subscriber.iter_events(), 1, 5) == [b"x"]
        assert plugin.hub.stats.subscribers == 1


@pytest.mark.parametrize("how", ["subscribe", "put"])
async def test_a_history_that_is_larger_than_the_backlog_is_no_deadlock(broken: Broken, how: str) -> None:
    """#5011."""
    async with make(broken, subscriber_max_backlog=2) as plugin:
        for number in range(10):
            await plugin.wait_published(b"%d" % number, "a")
        async with asyncio.timeout(5):
            subscriber = await plugin.subscribe("a", history=10 if how == "subscribe" else None)
            if how == "put":
                await plugin.put_subscriber_history(subscriber, "a")
        await plugin.wait_published(b"10", "a")
        assert await take(subscriber.iter_events(), 11, 5) == [b"%d" % number for number in range(11)]


async def test_undeclared_channels_are_refused(broken: Broken) -> None:
    async with make(broken) as plugin:
        with pytest.raises(ChannelsException, match="unknown channel 'c'"):
            plugin.publish(b"x", ["a", "c"])
        with pytest.raises(ChannelsException, match="unknown channel 'c'"):
            await plugin.wait_published(b"x", "c")
        assert broken.health().publishes.published == 0


async def test_a_start_that_fails_leaves_no_task(broken: Broken) -> None:
    async def fails() -> None:
        raise BackendError("wrong password")

    tasks = len(asyncio.all_tasks())
    broken.on_startup = fails  # type: ignore[method-assign]
    with pytest.raises(BackendError):
        async with make(broken):
            pass
    assert len(asyncio.all_tasks()) == tasks


async def test_a_server_that_refuses_subscriptions_at_the_start_leaves_no_task(broken: Broken) -> None:
    """Litestar's subscribes at once, and fails then, with two tasks left."""
    tasks = len(asyncio.all_tasks())
    broken.fail = {"subscribe"}
    with contextlib.suppress(BackendError):
        async with make(broken) as plugin:
            await plugin.subscribe("a")
    assert len(asyncio.all_tasks()) == tasks


async def test_a_wrong_password_at_the_start_leaves_no_task(server: Server) -> None:
    tasks = len(asyncio.all_tasks())
    client = make_client(server, password="wrong")
    with pytest.raises(BackendError):
        async with make(RedisChannelsStreamBackend(10, redis=client)):
            pass
    assert len(asyncio.all_tasks()) == tasks
    await client.aclose()


async def test_an_application_starts_and_ends_while_the_server_is_away(own_server: Server) -> None:
    own_server.kill()
    client = make_client(own_server)
    backend = RedisChannelsStreamBackend(10, redis=client, subscribe_timeout=0.3, publish_timeout=1)
    plugin = make(backend)
    async with asyncio.timeout(20):
        async with plugin:
            subscriber = await plugin.subscribe("a")
            plugin.publish(b"lost", "a")
            own_server.start()

            async def published() -> bool:
                with contextlib.suppress(BackendUnavailable):
                    await plugin.wait_published(b"x", "a")
                return subscriber.qsize > 0

            await until(published, "the connection")
            async for event in subscriber.iter_events():
                if event == b"x":
                    break
            own_server.kill()
            for _ in range(100):
                plugin.publish(b"lost", "a")
    await client.aclose()


async def test_a_thread_publishes(broken: Broken) -> None:
    """Litestar's puts into a queue that belongs to the event loop, and nobody is woken."""
    async with make(broken) as plugin:
        subscriber = await plugin.subscribe("a")
        waiting = asyncio.create_task(take(subscriber.iter_events(), 10, 5))
        await asyncio.sleep(0.01)

        def publish() -> None:
            # When the event loop has nothing to do.
            time.sleep(0.1)
            for number in range(10):
                plugin.publish(b"%d" % number, "a")

        thread = threading.Thread(target=publish)
        thread.start()
        assert await waiting == [b"%d" % number for number in range(10)]
        thread.join()


async def test_a_thread_that_publishes_too_much_is_told_by_the_callback(broken: Broken) -> None:
    told: list[Any] = []
    plugin = make(broken, max_queue=1, on_publish_error=lambda *error: told.append(error))
    async with plugin:
        await asyncio.to_thread(lambda: [plugin.publish(b"x", "a") for _ in range(1000)])
        with pytest.raises(BackendUnavailable):
            for _ in range(2):
                plugin.publish(b"x", "a")
        await until(lambda: not plugin.hub.stats.queued, "the publishes")
        assert plugin.hub.stats.publish_errors == len(told)
        assert len(told) + plugin.hub.stats.published >= 1000
    assert all(isinstance(error, BackendUnavailable) for error, *_ in told)


async def test_nothing_is_left_of_ten_thousand_that_came_and_went(make_plugin: MakePlugin) -> None:
    async with make_plugin() as plugin:
        tasks = len(asyncio.all_tasks())

        async def come_and_go(number: int) -> None:
            names = ["a", f"user-{number % 7}"]
            async with (
                plugin.start_subscription(names, history=2) as subscriber,
                subscriber.run_in_background(ignore),
            ):
                await asyncio.sleep(0)

        for start in range(0, 10_000, 100):
            coming = [asyncio.create_task(come_and_go(number)) for number in range(start, start + 100)]
            await asyncio.sleep(0)
            for task in coming[::3]:
                task.cancel()
            await asyncio.gather(*coming, return_exceptions=True)
        await until(lambda: len(asyncio.all_tasks()) == tasks, "the tasks to end")
        assert plugin.hub.stats.subscribers == 0
        assert not plugin.running


async def test_the_end_of_the_application_ends_what_runs_in_the_background(
    broken: Broken, caplog: pytest.LogCaptureFixture
) -> None:
    received: list[bytes] = []

    async def on_event(data: bytes) -> None:
        received.append(data)
        if data == b"hang":
            await asyncio.Event().wait()

    async with asyncio.timeout(10):
        async with make(broken) as plugin:
            stack = contextlib.AsyncExitStack()
            for _ in range(3):
                subscriber = await plugin.subscribe("a")
                await stack.enter_async_context(subscriber.run_in_background(on_event))
            await plugin.wait_published(b"hang", "a")
            await until(lambda: len(received) == 3, "the events")
        assert not plugin.running
        await stack.aclose()
