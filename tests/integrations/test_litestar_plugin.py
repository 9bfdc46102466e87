"""The plugin as Litestar's: the same interface, and what applications do with it."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import litestar.channels
import pytest
from litestar import Litestar, Request, post
from litestar.channels.backends.memory import MemoryChannelsBackend as LitestarMemory
from litestar.di import NamedDependency
from litestar.exceptions import ImproperlyConfiguredException
from litestar.testing import TestClient

from gapless import (
    ConfigurationError,
    Event,
    Gap,
    HubClosed,
    MemoryChannelsBackend,
    RedisChannelsStreamBackend,
)
from gapless.integrations.litestar import (
    ChannelsBackend,
    ChannelsPlugin,
    Subscriber,
    litestar_backend,
)
from tests.conftest import make_client
from tests.integrations.conftest import MakePlugin
from tests.support.servers import Server
from tests.support.waiting import take, until

# Events that wait in the hub, for tests of a stream whose end is known.
NOTHING = b"nothing"


def methods(kind: type) -> list[str]:
    return [
        name
        for name in dir(kind)
        if (not name.startswith("_") and callable(getattr(kind, name))) or name == "__init__"
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "name"),
    [
        (ours, theirs, name)
        for ours, theirs in (
            (ChannelsPlugin, litestar.channels.ChannelsPlugin),
            (Subscriber, litestar.channels.Subscriber),
        )
        for name in methods(theirs)
    ],
)
def test_the_signatures_are_litestars_and_new_arguments_follow(ours: type, theirs: type, name: str) -> None:
    expected = list(inspect.signature(getattr(theirs, name)).parameters.values())
    found = list(inspect.signature(getattr(ours, name)).parameters.values())
    for here, there in zip(found, expected, strict=False):
        assert (here.name, here.kind) == (there.name, there.kind)
        if there.name == "subscriber_class":
            assert issubclass(here.default, there.default)
        else:
            assert here.default == there.default
    assert len(found) >= len(expected)
    new = found[len(expected) :]
    assert {parameter.kind for parameter in new} <= {
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    }


def test_the_names_of_the_package_are_litestars() -> None:
    import gapless.integrations.litestar as ours

    assert set(litestar.channels.__all__) <= set(ours.__all__)
    assert issubclass(ChannelsPlugin, litestar.channels.ChannelsPlugin)
    assert issubclass(Subscriber, litestar.channels.Subscriber)
    assert ChannelsBackend is litestar.channels.ChannelsBackend
    assert isinstance(Subscriber.qsize, property)
    assert isinstance(Subscriber.is_running, property)


@pytest.mark.parametrize("which", ["memory", "pubsub", "streams"])
async def test_a_whole_application_in_two_lifespans(make_plugin: MakePlugin) -> None:
    plugin = make_plugin(create_ws_route_handlers=True)

    @post("/publish/{room:str}")
    async def publish(request: Request[Any, Any, Any], channels: NamedDependency[ChannelsPlugin]) -> None:
        channels.publish(await request.json(), request.path_params["room"])

    @post("/sync/{room:str}", sync_to_thread=True)
    def in_a_thread(
        request: Request[Any, Any, Any], channels: NamedDependency[litestar.channels.ChannelsPlugin]
    ) -> None:
        channels.publish({"thread": True}, request.path_params["room"])

    app = Litestar([publish, in_a_thread], plugins=[plugin])
    assert app.plugins.get(ChannelsPlugin) is plugin

    def use() -> None:
        for _ in range(2):
            with TestClient(app) as client:
                with client.websocket_connect("/room") as one, client.websocket_connect("/room") as two:
                    for number in range(4):
                        assert client.post("/publish/room", json={"n": number}).status_code == 201
                    for socket in (one, two):
                        received = [socket.receive_json(timeout=5) for _ in range(4)]
                        assert received == [{"n": number} for number in range(4)]
                    assert client.post("/sync/room").status_code == 201
                    assert one.receive_json(timeout=5) == {"thread": True}
                with client.portal() as portal:
                    portal.call(subscribed, plugin, 0)

    await asyncio.to_thread(use)


async def subscribed(plugin: Any, count: int) -> None:
    await until(lambda: plugin.hub.stats.subscribers == count, f"{count} subscribers")


async def test_every_way_to_take_events(plugin: Any) -> None:
    async with plugin.start_subscription(["a", "b"]) as subscriber:
        assert isinstance(subscriber, Subscriber)
        assert subscriber.channels == ("a", "b")
        for number in range(6):
            await plugin.wait_published({"n": number}, "ab"[number % 2])
        await until(lambda: subscriber.qsize == 6, "all to arrive")
        stream = subscriber.iter_events()
        assert await take(stream, 2) == [b'{"n":0}', b'{"n":1}']
        await stream.aclose()
        (third,) = await take(aiter(subscriber), 1)
        assert isinstance(third, Event)
        assert (third.channel, third.data) == ("a", b'{"n":2}')
        assert third.id is not None
        cursor = subscriber.cursor
        assert [event.data for event in await subscriber.batch()] == [b'{"n":3}', b'{"n":4}', b'{"n":5}']
        await plugin.unsubscribe(subscriber)
        assert [event async for event in subscriber.iter_events()] == []
    async with plugin.start_subscription(["a", "b"], after=cursor) as subscriber:
        assert sorted(event.data for event in await take(aiter(subscriber), 3)) == [
            b'{"n":3}',
            b'{"n":4}',
            b'{"n":5}',
        ]


async def test_the_history_comes_first_and_nothing_twice(plugin: Any) -> None:
    for number in range(5):
        await plugin.wait_published(b"%d" % number, ["a", "b"])
    async with plugin.start_subscription("a", history=3) as subscriber:
        await plugin.wait_published(b"5", "a")
        assert await take(subscriber.iter_events(), 4) == [b"2", b"3", b"4", b"5"]
    async with plugin.start_subscription(["a", "b"]) as subscriber:
        await plugin.wait_published(b"6", "a")
        await until(lambda: subscriber.qsize == 1, "the live event")
        await plugin.put_subscriber_history(subscriber, (name for name in ("a", "b")), limit=2)
        # The newest two of each; one of them comes live.
        assert await take(subscriber.iter_events(), 4) == [b"5", b"3", b"4", b"6"]
        await plugin.put_subscriber_history(subscriber, "b", limit=0)
        assert subscriber.qsize == 0
        await plugin.put_subscriber_history(subscriber, "b")
        assert await take(subscriber.iter_events(), 5) == [b"0", b"1", b"2", b"3", b"4"]


async def test_who_is_lost_in_the_history_comes_back_for_the_rest_of_it(plugin: Any) -> None:
    for number in range(5):
        await plugin.wait_published(b"%d" % number, "a")
    async with plugin.start_subscription("a") as subscriber:
        await plugin.put_subscriber_history(subscriber, "a")
        assert [event.data for event in await take(aiter(subscriber), 2)] == [b"0", b"1"]
        cursor = subscriber.cursor
    async with plugin.start_subscription("a", after=cursor) as subscriber:
        await plugin.wait_published(b"5", "a")
        assert await take(subscriber.iter_events(), 4) == [b"2", b"3", b"4", b"5"]
        cursor = subscriber.cursor
        # Read again, it does not take the cursor back.
        await plugin.put_subscriber_history(subscriber, "a", limit=4)
        assert await take(subscriber.iter_events(), 2) == [b"2", b"3"]
        assert subscriber.cursor == cursor


async def test_what_is_put_by_hand(plugin: Any) -> None:
    async with plugin.start_subscription("a") as subscriber:
        waiting = asyncio.create_task(take(subscriber.iter_events(), 1))
        await asyncio.sleep(0)
        assert subscriber.put_nowait(b"at once")
        assert await asyncio.wait_for(waiting, 5) == [b"at once"]
        await plugin.wait_published(b"live", "a")
        await until(lambda: subscriber.qsize == 1, "the live event")
        await subscriber.put(b"first")
        assert subscriber.qsize == 2
        await subscriber.put(None)
        await subscriber.put(b"too late")
        assert not subscriber.put_nowait(b"too late")
        assert [event async for event in subscriber.iter_events()] == [b"first", b"live"]


async def test_a_history_comes_after_what_an_iteration_has_taken_out_and_nothing_twice(plugin: Any) -> None:
    await plugin.wait_published(b"old", "a")
    async with plugin.start_subscription("a") as subscriber:
        for number in range(50):
            await plugin.wait_published(b"%d" % number, "a")
        await until(lambda: subscriber.qsize == 50, "the events")
        received = await take(subscriber, 1)
        await plugin.put_subscriber_history(subscriber, "a")
        received += await take(subscriber, 50)
        expected = [b"%d" % number for number in range(50)]
        assert [event.data for event in received] == [*expected[:32], b"old", *expected[32:]]


async def test_puts_are_bounded(make_plugin: MakePlugin) -> None:
    async with make_plugin(subscriber_max_backlog=2) as plugin, plugin.start_subscription("a") as subscriber:
        assert subscriber.put_nowait(b"1")
        assert subscriber.put_nowait(b"2")
        assert not subscriber.put_nowait(b"3")
        putting = asyncio.create_task(subscriber.put(b"3"))
        await asyncio.sleep(0)
        assert not putting.done()
        assert await take(subscriber.iter_events(), 3) == [b"1", b"2", b"3"]
        await putting
        assert subscriber.put_nowait(b"4")
        assert subscriber.put_nowait(b"5")
        putting = asyncio.create_task(subscriber.put(b"6"))
        await asyncio.sleep(0)
        await plugin.unsubscribe(subscriber)
        await asyncio.wait_for(putting, 5)


@pytest.mark.parametrize("way", ["iter_events", "async for"])
async def test_a_put_that_waits_goes_on_as_soon_as_one_was_taken(make_plugin: MakePlugin, way: str) -> None:
    async with make_plugin(subscriber_max_backlog=2) as plugin, plugin.start_subscription("a") as subscriber:
        events = subscriber.iter_events() if way == "iter_events" else subscriber
        assert subscriber.put_nowait(b"1")
        assert subscriber.put_nowait(b"2")
        assert len(await take(events, 1)) == 1
        assert subscriber.put_nowait(b"3")
        putting = [asyncio.create_task(subscriber.put(data)) for data in (b"4", b"5")]
        await asyncio.sleep(0)
        for task in putting:
            await take(events, 1)
            await asyncio.wait_for(task, 5)
        assert len(await take(events, 2)) == 2


async def test_a_put_before_the_subscription_is_refused_and_leaves_nothing(plugin: Any) -> None:
    subscriber = plugin.prepare_subscriber("a")
    with pytest.raises(HubClosed):
        subscriber.put_nowait(b"too early")
    async with subscriber:
        assert subscriber.qsize == 0


async def test_a_subscriber_leaves_one_channel(plugin: Any) -> None:
    subscriber = await plugin.subscribe(["a", "b"])
    await plugin.unsubscribe(subscriber, "a")
    await plugin.unsubscribe(subscriber, ["a", "unknown"])
    await plugin.wait_published(b"a", "a")
    await plugin.wait_published(b"b", "b")
    assert await take(subscriber.iter_events(), 1) == [b"b"]
    await plugin.unsubscribe(subscriber, "b")
    await plugin.unsubscribe(subscriber)
    assert [event async for event in subscriber.iter_events()] == []
    assert plugin.hub.stats.subscribers == 0


async def test_gaps_are_in_their_place_and_the_callback_is_told(make_plugin: MakePlugin) -> None:
    async with make_plugin(subscriber_max_backlog=2) as plugin, plugin.start_subscription("a") as subscriber:
        for number in range(100):
            await plugin.wait_published(b"%d" % number, "a")
        await until(lambda: plugin.hub.stats.events == 100, "all to arrive")
        assert subscriber.stats.waiting_events == 2
        received: list[Any] = []

        async def on_event(data: bytes) -> None:
            received.append(data)

        async def on_gap(gap: Gap) -> None:
            received.append(gap)

        async with subscriber.run_in_background(on_event, on_gap=on_gap):
            await until(lambda: len(received) == 3, "the gap")
            await plugin.wait_published(b"100", "a")
            await until(lambda: len(received) == 4, "the next event")
        assert received[:2] == [b"0", b"1"]
        assert (received[2].reason, received[3]) == ("backlog", b"100")


@pytest.mark.parametrize("which", ["streams"])
async def test_without_a_bound_nothing_is_dropped_that_the_history_has(make_plugin: MakePlugin) -> None:
    """Litestar's default is no bound at all; ours keeps 1,000 events in memory."""
    async with make_plugin({"history": 5000}) as plugin, plugin.start_subscription("a") as subscriber:
        await asyncio.gather(*(plugin.wait_published(b"%d" % number, "a") for number in range(3000)))
        await until(lambda: plugin.hub.stats.events == 3000, "all to arrive")
        assert subscriber.qsize <= 1100
        assert await take(subscriber.iter_events(), 3000) == [b"%d" % number for number in range(3000)]


async def test_subclasses_of_the_subscriber(make_plugin: MakePlugin) -> None:
    class Shouting(Subscriber):
        def __init__(self, plugin: Any, max_backlog: int | None = None, backlog_strategy: Any = "") -> None:
            super().__init__(plugin, max_backlog=3, backlog_strategy="dropleft")

        async def iter_events(self) -> Any:
            async for event in super().iter_events():
                yield event.upper()

    received: list[bytes] = []

    async def on_event(data: bytes) -> None:
        received.append(data)

    plugin = make_plugin(subscriber_class=Shouting)
    async with plugin, plugin.start_subscription("a") as subscriber:
        assert isinstance(subscriber, Shouting)
        for number in range(100):
            await plugin.wait_published(b"x%d" % number, "a")
        await until(lambda: plugin.hub.stats.events == 100, "all to arrive")
        async with subscriber.run_in_background(on_event):
            await until(lambda: len(received) == 3, "the events")
        assert received == [b"X97", b"X98", b"X99"]


def test_what_does_not_go_together_is_refused() -> None:
    backend = MemoryChannelsBackend()
    with pytest.raises(ImproperlyConfiguredException, match="channels"):
        ChannelsPlugin(backend)
    with pytest.raises(ImproperlyConfiguredException, match="derived from"):
        ChannelsPlugin(backend, channels=["a"], subscriber_class=litestar.channels.Subscriber)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="policy"):
        ChannelsPlugin(backend, channels=["a"], subscriber_backlog_strategy="drop")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="ws_send_mode"):
        ChannelsPlugin(backend, channels=["a"], ws_send_mode="txt")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="max_backlog"):
        ChannelsPlugin(backend, channels=["a"], subscriber_max_backlog=-1)
    with pytest.raises(ConfigurationError, match="drain_timeout"):
        ChannelsPlugin(backend, channels=["a"], drain_timeout=0)
    with pytest.raises(ConfigurationError, match="backend"):
        ChannelsPlugin("redis://localhost", channels=["a"])  # type: ignore[arg-type]


async def test_before_the_start_and_after_the_end(make_plugin: MakePlugin) -> None:
    plugin = make_plugin()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not started"):
            plugin.publish(b"x", "a")
        with pytest.raises(HubClosed):
            await plugin.subscribe("a")
        # As in a worker that has no application.
        await plugin.wait_published(b"x", "a")
        async with plugin, plugin.start_subscription("a", history=1) as subscriber:
            assert await take(subscriber.iter_events(), 1) == [b"x"]
        await plugin._on_shutdown()
    await plugin.hub.backend.on_shutdown()


@pytest.mark.parametrize("which", ["pubsub"])
async def test_a_history_that_the_backend_has_not(make_plugin: MakePlugin) -> None:
    tasks = len(asyncio.all_tasks())
    with pytest.raises(ImproperlyConfiguredException, match="history"):
        async with make_plugin(ws_handler_send_history=3):
            pass
    assert len(asyncio.all_tasks()) == tasks
    async with make_plugin() as plugin:
        with pytest.raises(NotImplementedError):
            await plugin.subscribe("a", history=3)
        assert plugin.hub.stats.subscribers == 0
        async with plugin.start_subscription("a") as subscriber:
            await plugin.wait_published(b"x", "a")
            assert await take(subscriber.iter_events(), 1) == [b"x"]
            with pytest.raises(NotImplementedError):
                await plugin.put_subscriber_history(subscriber, "a")


async def test_a_backend_that_was_written_for_litestar() -> None:
    plugin = ChannelsPlugin(LitestarMemory(history=10), channels=["a", "b"], ws_handler_send_history=3)
    async with plugin, plugin.start_subscription(["a", "b"]) as subscriber:
        await plugin.wait_published(b"1", ["a", "b"])
        assert await take(subscriber.iter_events(), 2) == [b"1", b"1"]
        await plugin.put_subscriber_history(subscriber, "a")
        assert await take(subscriber.iter_events(), 1) == [b"1"]
        async with plugin.start_subscription("a", history=5) as second:
            assert await take(second.iter_events(), 1) == [b"1"]
        with pytest.raises(ConfigurationError, match="history"):
            await plugin.subscribe("a", after={"a": "1-0"})


async def test_litestars_own_plugin_takes_our_backends_and_a_type_checker_agrees(server: Server) -> None:
    client = make_client(server)
    backend = RedisChannelsStreamBackend(10, redis=client)
    assert litestar_backend(backend) is backend
    async with litestar.channels.ChannelsPlugin(litestar_backend(backend), channels=["a"]) as plugin:
        subscriber = await plugin.subscribe("a")
        await plugin.wait_published(b"x", "a")
        assert await take(subscriber.iter_events(), 1) == [b"x"]
        await plugin.unsubscribe(subscriber)
    await client.aclose()
