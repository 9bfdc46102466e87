"""WebSockets, on a real server, with a real client."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gapless import Channels, MemoryChannelsBackend
from gapless.integrations.starlette import lifespan, serve_websocket
from gapless.transports import websocket as codes
from tests.support.waiting import until
from tests.support.web import Web, serving

V1 = [Subprotocol("gapless.v1")]


@pytest.fixture
async def hub() -> Channels:
    return Channels(MemoryChannelsBackend(history=100), linger=0.05, channels=["a", "b"])


@pytest.fixture
async def web(hub: Channels) -> AsyncIterator[Web]:
    async def socket(websocket: WebSocket) -> None:
        options = {"policy": "spill", "first_message_timeout": 0.3}
        options |= json.loads(websocket.query_params.get("options", "{}"))
        await serve_websocket(websocket, hub, websocket.query_params.getlist("channel"), **options)

    app = Starlette(routes=[WebSocketRoute("/ws", socket)], lifespan=lifespan(hub))
    async with serving(app) as server:
        yield server


def url(web: Web, *channels: str, **options: Any) -> str:
    query = httpx.QueryParams([("channel", name) for name in channels] + [("options", json.dumps(options))])
    return f"ws://{web.address}/ws?{query}"


async def receive(socket: ClientConnection, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [json.loads(await socket.recv()) for _ in range(count)]


async def code_of(socket: ClientConnection) -> tuple[int, str]:
    async with asyncio.timeout(10):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as end:
            assert end.rcvd is not None
            return end.rcvd.code, end.rcvd.reason


async def test_plain_frames_are_the_payloads(hub: Channels, web: Web) -> None:
    async with connect(url(web, "a")) as text, connect(url(web, "a", mode="binary")) as binary:
        await until(lambda: hub.stats.subscribers == 2, "the subscribers")
        for payload in ("text ä", b"\xff", ""):
            await hub.publish(payload, "a")
        async with asyncio.timeout(5):
            assert [await text.recv() for _ in range(3)] == ["text ä", b"\xff", ""]
            assert [await binary.recv() for _ in range(3)] == ["text ä".encode(), b"\xff", b""]
        assert text.subprotocol is None


async def test_the_envelope_names_channel_and_id(hub: Channels, web: Web) -> None:
    async with connect(url(web, "a", "b"), subprotocols=V1) as socket:
        assert socket.subprotocol == "gapless.v1"
        await socket.send("{}")
        assert await receive(socket, 1) == [{"ready": {"a": "0-0", "b": "0-0"}}]
        await hub.publish("x", ["a", "b"])
        await hub.publish(b"\xff", "a")
        assert await receive(socket, 3) == [
            {"channel": "a", "id": "1-0", "data": "x"},
            {"channel": "b", "id": "2-0", "data": "x"},
            {"channel": "a", "id": "3-0", "data": "/w==", "base64": True},
        ]


async def test_a_client_that_comes_back_gets_what_it_missed_or_a_gap(hub: Channels, web: Web) -> None:
    async with connect(url(web, "a", "b"), subprotocols=V1) as socket:
        await socket.send("{}")
        (ready,) = await receive(socket, 1)
    where = ready["ready"]
    await hub.publish("0", "a")
    async with connect(url(web, "a", "b"), subprotocols=V1) as socket:
        await socket.send(json.dumps({"after": where}))
        ready, missed = await receive(socket, 2)
        assert ready == {"ready": where}
        assert missed == {"channel": "a", "id": "1-0", "data": "0"}
    for number in range(1, 151):
        await hub.publish(f"{number}", "a")
    async with connect(url(web, "a"), subprotocols=V1) as socket:
        await socket.send(json.dumps({"after": where | {"a": "1-0"}}))
        _, gap, *rest = await receive(socket, 102)
        assert gap == {"gap": {"channel": "a", "after": "1-0", "reason": "trimmed", "lost": None}}
        assert [message["data"] for message in rest] == [f"{number}" for number in range(51, 151)]


@pytest.mark.parametrize(
    "first",
    [
        "nonsense",
        "[]",
        '{"after": 1}',
        '{"after": {"a": 1}}',
        '{"after": {"a": "x"}}',
        '{"more": 1}',
        # Right, but for its length.
        '{"after": {}}' + " " * 1_100_000,
    ],
)
async def test_a_first_message_that_is_none_closes(hub: Channels, web: Web, first: str) -> None:
    async with connect(url(web, "a"), subprotocols=V1) as socket:
        await socket.send(first)
        code, reason = await code_of(socket)
        assert code == codes.BAD_REQUEST
        assert reason
    await until(lambda: not hub.stats.subscribers, "the end of the subscriber")


async def test_a_client_that_says_nothing_is_closed(web: Web) -> None:
    async with connect(url(web, "a"), subprotocols=V1) as socket:
        assert await code_of(socket) == (
            codes.BAD_REQUEST,
            'no first message; expected {"after": {...}} or {}',
        )


async def test_unknown_and_missing_channels_close(web: Web) -> None:
    async with connect(url(web, "nobody knows it")) as socket:
        assert (await code_of(socket))[0] == codes.UNKNOWN_CHANNEL
    async with connect(url(web)) as socket:
        assert (await code_of(socket))[0] == codes.BAD_REQUEST


async def test_the_end_of_the_hub_asks_to_come_back(hub: Channels, web: Web) -> None:
    async with connect(url(web, "a")) as socket:
        await until(lambda: hub.stats.subscribers, "the subscriber")
        hub.drain()
        assert (await code_of(socket))[0] == codes.GOING_AWAY
    async with connect(url(web, "a")) as socket:
        assert (await code_of(socket))[0] == codes.GOING_AWAY


async def test_a_client_that_leaves_is_noticed(hub: Channels, web: Web) -> None:
    tasks = len(asyncio.all_tasks())
    for options in ({}, {"subprotocols": V1}):
        async with connect(url(web, "a"), **options) as socket:
            if options:
                await socket.send("{}")
            await until(lambda: hub.stats.subscribers, "the subscriber")
        await until(lambda: not hub.stats.subscribers, "the end of the subscriber")
    # Before it has said anything.
    async with connect(url(web, "a", first_message_timeout=60), subprotocols=V1):
        pass
    await until(lambda: len(asyncio.all_tasks()) <= tasks, "the end of the tasks")


async def test_a_client_that_does_not_read_its_close_code_in_time_has_what_was_sent_and_none(
    hub: Channels, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "CLOSE_SECONDS", 0.1)
    address = url(web, "a", policy="disconnect", max_backlog=50)
    async with connect(address, max_queue=1, subprotocols=V1) as slow:
        await slow.send("{}")
        assert "ready" in json.loads(await slow.recv())
        slow.transport.pause_reading()
        number = 0
        while not hub.stats.disconnected:
            await hub.publish(str(number) + os.urandom(50_000).hex(), "a")
            number += 1
            await asyncio.sleep(0)
        # The server has given it up, and the rest is the system's.
        await until(lambda: not web.server_state.tasks, "the end of the application")
        slow.transport.resume_reading()
        found = []
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionClosed) as end:
                while True:
                    found.append(json.loads(await slow.recv()))
    assert end.value.rcvd is None
    ids = [message["id"] for message in found]
    assert ids == sorted(ids, key=lambda each: int(each.split("-")[0]))
    assert 0 < len(ids) < number


async def test_a_client_that_never_reads_is_ended_by_its_policy(hub: Channels, web: Web) -> None:
    address = url(web, "a", policy="disconnect", max_backlog=50)
    async with connect(address, max_queue=1) as slow, connect(url(web, "a")) as other:
        await until(lambda: hub.stats.subscribers == 2, "the subscribers")
        slow.transport.pause_reading()

        async def read() -> int:
            return len([await other.recv() for _ in range(300)])

        reading = asyncio.create_task(read())
        for _ in range(300):
            # Not to be compressed.
            await hub.publish(os.urandom(100_000), "a")
            await asyncio.sleep(0.001)
        assert await reading == 300
        await until(lambda: hub.stats.subscribers == 1, "the end of the slow one")
        assert hub.stats.disconnected == 1
        slow.transport.abort()


async def test_what_clients_send_is_ignored(hub: Channels, web: Web) -> None:
    async with connect(url(web, "a")) as socket:
        await until(lambda: hub.stats.subscribers, "the subscriber")
        for message in ("text", b"bytes", "x" * 100_000):
            await socket.send(message)
        await hub.publish("x", "a")
        async with asyncio.timeout(5):
            assert await socket.recv() == "x"


async def test_a_client_of_plain_frames_that_is_connected_is_subscribed(
    hub: Channels, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe = hub.backend.subscribe

    async def slow(channels: Any) -> None:
        await asyncio.sleep(0.1)
        await subscribe(channels)

    monkeypatch.setattr(hub.backend, "subscribe", slow)
    async with connect(url(web, "a")) as socket:
        await hub.publish({"n": 1}, "a")
        assert await receive(socket, 1) == [{"n": 1}]


async def test_a_client_is_accepted_also_if_the_broker_takes_long(
    hub: Channels, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe, may_subscribe = hub.backend.subscribe, asyncio.Event()

    async def slow(channels: Any) -> None:
        await may_subscribe.wait()
        await subscribe(channels)

    monkeypatch.setattr(hub.backend, "subscribe", slow)
    monkeypatch.setattr(codes, "ACCEPT_SECONDS", 0.05)
    async with connect(url(web, "a"), open_timeout=5) as socket:
        may_subscribe.set()
        await until(lambda: hub.stats.subscribers, "the subscription")
        await hub.publish({"n": 1}, "a")
        assert await receive(socket, 1) == [{"n": 1}]
