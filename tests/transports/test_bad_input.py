"""What clients and applications do wrong, over real sockets: the others go on, and nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from gapless import Channels, MemoryChannelsBackend
from gapless._core import cursor as cursors
from gapless.integrations.starlette import EventStream, lifespan, serve_websocket
from tests.support.waiting import until
from tests.support.web import Web, events, listening, serving

V1 = [Subprotocol("gapless.v1")]
COUNT = 10_000 if os.environ.get("GAPLESS_TEST_LONG") else 1_000

# So many are connected at once.
AT_ONCE = 50

HANDSHAKE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class BrokenError(Exception):
    """A bug of the application."""


@pytest.fixture
async def hub() -> Channels:
    return Channels(MemoryChannelsBackend(history=100), linger=0.05)


@pytest.fixture
async def web(hub: Channels) -> AsyncIterator[Web]:
    async def stream(request: Request) -> EventStream:
        return EventStream(request, hub, request.query_params.getlist("channel"))

    async def broken_stream(request: Request) -> EventStream:
        async with hub.subscribe("a"):
            raise BrokenError

    async def socket(websocket: WebSocket) -> None:
        await serve_websocket(websocket, hub, "a", first_message_timeout=5)

    async def broken_socket(websocket: WebSocket) -> None:
        async with hub.subscribe("a"):
            await websocket.accept()
            raise BrokenError

    app = Starlette(
        routes=[
            Route("/events", stream),
            Route("/broken", broken_stream),
            WebSocketRoute("/ws", socket),
            WebSocketRoute("/broken-ws", broken_socket),
        ],
        lifespan=lifespan(hub),
    )
    async with serving(app, ws_max_size=64 * 1024) as server:
        yield server


@pytest.fixture
async def watcher(hub: Channels, web: Web) -> AsyncIterator[Any]:
    """Another client, which must not notice anything: it gets the next event."""
    async with listening(f"{web.url}/events?channel=a") as source:
        await until(lambda: hub.stats.subscribers == 1, "the watcher")
        yield source
        await until(lambda: hub.stats.subscribers == 1, "the others to be gone")
        await hub.publish("still here", "a")
        assert (await events(source, 1))[-1].data == "still here"


def cursor_of(channel: str, position: str) -> str:
    return cursors.join([(cursors.digest(channel), position)])


async def test_a_cursor_of_the_future_is_told_that_it_knows_more_than_the_server(
    hub: Channels, web: Web
) -> None:
    await hub.publish("0", "a")
    future = "9999999999999-0"
    url = f"{web.url}/events?channel=a&last_event_id={cursor_of('a', future)}"
    async with listening(url) as source:
        await until(lambda: hub.stats.subscribers == 1, "the subscriber")
        await hub.publish("1", "a")
        gap, event = await events(source, 2)
        assert (gap.event, gap.json()["reason"], gap.json()["after"]) == ("gap", "rollback", future)
        assert event.data == "1"
    async with connect(f"ws://{web.address}/ws", subprotocols=V1) as socket, asyncio.timeout(10):
        await socket.send(json.dumps({"after": {"a": future}}))
        assert "ready" in json.loads(await socket.recv())
        assert json.loads(await socket.recv())["gap"]["reason"] == "rollback"
        await hub.publish("2", "a")
        assert json.loads(await socket.recv())["data"] == "2"


async def test_a_cursor_of_another_channel_begins_now(hub: Channels, web: Web) -> None:
    await hub.publish("0", "a")
    async with listening(f"{web.url}/events?channel=a&last_event_id={cursor_of('b', '1-0')}") as source:
        await until(lambda: hub.stats.subscribers == 1, "the subscriber")
        await hub.publish("1", "a")
        assert [event.data for event in await events(source, 1)] == ["1"]


@pytest.mark.parametrize("position", ["-1", "1-", "x-1", "1-1@", "1-1@" + "s" * 100, f"{2**64}-0", "1-1\x00"])
async def test_a_forged_position_is_refused(web: Web, position: str) -> None:
    async with httpx.AsyncClient() as client:
        query = {"channel": "a", "last_event_id": cursor_of("a", position)}
        answer = await client.get(f"{web.url}/events", params=query)
    assert answer.status_code == 400


@pytest.mark.usefixtures("watcher")
@pytest.mark.parametrize("first", [True, False])
async def test_a_frame_that_is_too_large_closes_that_connection_alone(web: Web, first: bool) -> None:
    async with connect(f"ws://{web.address}/ws", subprotocols=V1) as socket, asyncio.timeout(10):
        if not first:
            await socket.send("{}")
            await socket.recv()
        await socket.send("x" * 100_000)
        with pytest.raises(ConnectionClosed):
            while True:
                await socket.recv()


@pytest.mark.usefixtures("watcher")
@pytest.mark.parametrize("request_", ["/events?channel=a", "/ws"])
async def test_clients_that_come_and_leave_at_once_leave_nothing(
    hub: Channels, web: Web, request_: str
) -> None:
    """10,000 with GAPLESS_TEST_LONG=1."""
    tasks = len(asyncio.all_tasks())
    host, _, port = web.address.partition(":")
    head = f"GET {request_} HTTP/1.1\r\nHost: x\r\n".encode()
    head += (HANDSHAKE if request_ == "/ws" else b"") + b"\r\n"
    for start in range(0, COUNT, AT_ONCE):
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(AT_ONCE)]
        for number, (_, writer) in enumerate(opened):
            # Some leave in the middle of the request, some before they are answered, some after.
            writer.write(head[: len(head) // 2] if number % 5 == 0 else head)
        if start % (2 * AT_ONCE):
            async with asyncio.timeout(10):
                await asyncio.gather(*(reader.read(1) for reader, _ in opened[1::5]))
        for _, writer in opened:
            writer.transport.abort()
    await until(lambda: hub.stats.subscribers == 1, "the end of the subscribers")
    await until(lambda: len(asyncio.all_tasks()) <= tasks, "the end of the tasks")


@pytest.mark.usefixtures("watcher")
async def test_endpoints_that_fail_leave_nothing(hub: Channels, web: Web) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(20):
            assert (await client.get(f"{web.url}/broken")).status_code == 500
    for _ in range(20):
        with pytest.raises((ConnectionClosed, InvalidStatus)):
            async with connect(f"ws://{web.address}/broken-ws") as socket, asyncio.timeout(10):
                await socket.recv()
    await until(lambda: hub.stats.subscribers == 1, "the end of the subscribers")


@pytest.mark.usefixtures("watcher")
@pytest.mark.parametrize("data", [object(), {1, object()}, float, {"n": {object(): 1}}])
async def test_what_can_not_be_encoded_is_refused_and_not_published(hub: Channels, data: Any) -> None:
    before = hub.stats.events
    with pytest.raises(TypeError):
        await hub.publish(data, "a")
    with pytest.raises(TypeError):
        hub.publish_nowait(data, "a")
    assert hub.stats.events == before
