"""Litestar's unchanged ChannelsPlugin on our backends: the drop-in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from litestar import Litestar, Request, post
from litestar.channels import ChannelsPlugin
from litestar.di import NamedDependency
from litestar.testing import TestClient

from gapless import (
    BackendError,
    MemoryChannelsBackend,
    RedisChannelsPubSubBackend,
    RedisChannelsStreamBackend,
)
from tests.conftest import MakeBackend, make_client
from tests.support.servers import Server
from tests.support.waiting import until


def application(backend: Any, **options: Any) -> Litestar:
    @post("/publish/{room:str}")
    async def publish(request: Request[Any, Any, Any], channels: NamedDependency[ChannelsPlugin]) -> None:
        channels.publish(await request.json(), request.path_params["room"])

    @post("/wait/{room:str}")
    async def wait_published(
        request: Request[Any, Any, Any], channels: NamedDependency[ChannelsPlugin]
    ) -> None:
        await channels.wait_published(await request.json(), request.path_params["room"])

    plugin = ChannelsPlugin(
        backend, arbitrary_channels_allowed=True, create_ws_route_handlers=True, **options
    )
    return Litestar([publish, wait_published], plugins=[plugin])


def backends(server: Server) -> dict[str, Callable[[], Any]]:
    # As users do: the client is made at import time, before any event loop runs.
    return {
        "memory": lambda: MemoryChannelsBackend(history=10),
        "pubsub": lambda: RedisChannelsPubSubBackend(redis=make_client(server)),
        "streams": lambda: RedisChannelsStreamBackend(10, redis=make_client(server)),
    }


def sending(app: Litestar, client: TestClient[Litestar], room: str, count: int) -> None:
    """Return when so many sockets have the history.

    Litestar accepts a socket first, then subscribes, and then reads the history: what is published meanwhile
    comes twice.
    """
    subscribers = app.plugins.get(ChannelsPlugin)._channels

    async def wait() -> None:
        await until(
            lambda: [each.is_running for each in subscribers.get(room, ())] == [True] * count, "the sockets"
        )

    with client.portal() as portal:
        portal.call(wait)


@pytest.mark.parametrize("which", ["memory", "pubsub", "streams"])
def test_a_whole_application_twice(server: Server, which: str) -> None:
    options = {} if which == "pubsub" else {"ws_handler_send_history": 2}
    app = application(backends(server)[which](), **options)
    for lifespan in range(2):
        with TestClient(app) as client:
            with client.websocket_connect("/room") as one, client.websocket_connect("/room") as two:
                if lifespan and which != "pubsub":
                    assert [one.receive_json(timeout=5) for _ in range(2)] == [{"n": 2}, {"n": 3}]
                    assert [two.receive_json(timeout=5) for _ in range(2)] == [{"n": 2}, {"n": 3}]
                sending(app, client, "room", 2)
                for number in range(4):
                    path = "/publish/room" if number % 2 else "/wait/room"
                    assert client.post(path, json={"n": number}).status_code == 201
                    # One at a time: the plugin's queue and wait_published race each other.
                    assert one.receive_json(timeout=5) == {"n": number}
                    assert two.receive_json(timeout=5) == {"n": number}
            with client.websocket_connect("/other") as other:
                sending(app, client, "other", 1)
                client.post("/wait/room", json={"n": 2})
                client.post("/wait/other", json={"n": "other"})
                client.post("/wait/room", json={"n": 3})
                assert other.receive_json(timeout=5) == {"n": "other"}


@pytest.mark.parametrize("kind", ["streams"])
async def test_an_error_reaches_wait_published_but_does_not_end_the_publish_worker(
    make_backend: MakeBackend, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backend = make_backend()
    plugin = ChannelsPlugin(backend, channels=["good", "bad"])
    async with plugin:
        subscriber = await plugin.subscribe("good")
        await client.set(backend._make_key("bad"), "a string")
        with pytest.raises(BackendError, match="WRONGTYPE"):
            await plugin.wait_published(b"1", "bad")
        with caplog.at_level(logging.ERROR, "gapless"):
            plugin.publish(b"2", "bad")
            plugin.publish(b"3", "\ud800")
            plugin.publish(b"4", "good")
            assert [event async for event in first(subscriber)] == [b"4"]
        assert "WRONGTYPE" in caplog.text
        assert "can't be encoded" in caplog.text
        assert not plugin._pub_task.done()


async def first(subscriber: Any) -> Any:
    async with asyncio.timeout(5):
        async for event in subscriber.iter_events():
            yield event
            return


async def test_an_application_starts_while_the_server_is_away(kind: str, own_server: Server) -> None:
    own_server.kill()
    client = make_client(own_server)
    backend: Any = (
        RedisChannelsStreamBackend(10, redis=client, subscribe_timeout=0.3)
        if kind == "streams"
        else RedisChannelsPubSubBackend(redis=client, subscribe_timeout=0.3)
    )
    plugin = ChannelsPlugin(backend, channels=["room"])
    await asyncio.wait_for(plugin._on_startup(), 5)
    subscriber = await plugin.subscribe("room")
    plugin.publish(b"while away", "room")
    own_server.start()
    live = backend._enter().session.subscriptions.live
    await until(lambda: live, "the subscription")
    await plugin.wait_published(b"1", "room")
    received = []
    async with asyncio.timeout(5):
        async for event in subscriber.iter_events():
            received.append(event)
            if event == b"1":
                break
    assert received[-1] == b"1"
    await asyncio.wait_for(plugin._on_shutdown(), 5)
    await client.aclose()


@pytest.mark.parametrize("kind", ["streams"])
@pytest.mark.parametrize("first", ["history", "subscribe"])
async def test_either_order_of_history_and_subscribe_works(make_backend: MakeBackend, first: str) -> None:
    """Open changes to Litestar read the history before they subscribe, and hold a lock across both."""
    backend = make_backend()
    await backend.publish(b"old", ["room"])
    if first == "history":
        history = await backend.get_history("room")
        await backend.subscribe(["room"])
    else:
        await backend.subscribe(["room"])
        history = await backend.get_history("room")
    assert history == [b"old"]
    await backend.publish(b"new", ["room"])
    stream = backend.stream_events()
    assert await asyncio.wait_for(anext(stream), 5) == ("room", b"new")
    await stream.aclose()


@pytest.mark.parametrize("kind", ["streams"])
async def test_a_litestar_process_reads_our_streams_of_upper_case_channels(
    make_backend: MakeBackend, server: Server
) -> None:
    from litestar.channels.backends.redis import RedisChannelsStreamBackend as Theirs
    from redis.asyncio import Redis

    client = Redis(port=server.port, protocol=2)
    theirs = Theirs(history=10, redis=client)
    await theirs.subscribe(["ROOM"])
    await make_backend().publish(b"1", ["ROOM"])
    stream = theirs.stream_events()
    assert await asyncio.wait_for(anext(stream), 5) == ("ROOM", b"1")
    await stream.aclose()
    await client.aclose()
