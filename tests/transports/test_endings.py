"""The end of a hub, for clients that take nothing any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gapless import Channels, MemoryChannelsBackend
from gapless.testing import settled
from gapless.transports import pump
from gapless.transports.sse import EventStream, Frames
from gapless.transports.websocket import GOING_AWAY, Socket
from tests.support.waiting import until


class Stuck:
    """A client that takes the beginning, and no event."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.waits = False

    async def send(self, message: Any) -> None:
        self.waits = b"data: x" in message.get("body", b"") or message.get("text") == "x"
        if self.waits:
            await asyncio.Event().wait()
        self.sent.append(message)

    async def receive(self) -> Any:
        await asyncio.Event().wait()


async def serve_stream(hub: Channels, client: Stuck) -> None:
    subscriber = hub.subscribe("a")
    await subscriber.open()
    stream = EventStream(subscriber, Frames(envelope=False, base64=False), heartbeat=15.0, retry=2.0)
    await stream.serve(client.receive, client.send)


async def serve_socket(hub: Channels, client: Stuck) -> None:
    await Socket(lambda after: hub.subscribe("a", after=after), client.receive, client.send).serve()


@pytest.mark.parametrize("serve", [serve_stream, serve_socket])
async def test_a_client_that_takes_nothing_does_not_keep_the_server_from_stopping(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "LAST_SECONDS", 0.1)
    async with Channels(MemoryChannelsBackend(history=10)) as hub:
        client = Stuck()
        serving = asyncio.create_task(serve(hub, client))
        await until(lambda: hub.stats.subscribers and client.sent, "the client")
        await hub.publish("x", "a")
        await until(lambda: client.waits, "the event")
        hub.drain()
        await asyncio.wait_for(serving, 5)
        if serve is serve_socket:
            assert client.sent[-1]["code"] == GOING_AWAY


async def test_a_client_that_takes_what_waits_gets_all_of_it_at_the_end() -> None:
    async with Channels(MemoryChannelsBackend(history=10)) as hub:
        client = Stuck()
        serving = asyncio.create_task(serve_stream(hub, client))
        await until(lambda: hub.stats.subscribers and client.sent, "the client")
        for _ in range(10):
            await hub.publish("y", "a")
        await settled(hub)
        hub.drain()
        await asyncio.wait_for(serving, 5)
        assert b"".join(message.get("body", b"") for message in client.sent).count(b"data: y") == 10
        assert client.sent[-1]["more_body"] is False
