"""The end of a hub, for clients that take nothing any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gapless import Channels, MemoryChannelsBackend, Subscriber
from gapless.testing import settled
from gapless.transports import pump
from gapless.transports.frames import Frames
from gapless.transports.sse import CHUNK_EVENTS, EventStream
from gapless.transports.websocket import GOING_AWAY, TOO_SLOW, Socket
from tests.support.waiting import until


class Stuck:
    """A client that takes the beginning, and no event `x` unless it is let."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.waits = False
        self.may_take = asyncio.Event()

    async def send(self, message: Any) -> None:
        self.waits = b"data: x" in message.get("body", b"") or message.get("text") == "x"
        if self.waits:
            await self.may_take.wait()
        self.sent.append(message)

    async def receive(self) -> Any:
        await asyncio.Event().wait()


async def serve_stream(hub: Channels, client: Stuck) -> None:
    subscriber = hub.subscribe("a")
    await subscriber.open()
    await stream_of(subscriber).serve(client.receive, client.send)


def stream_of(subscriber: Subscriber) -> EventStream:
    return EventStream(subscriber, Frames(envelope=False, base64=False), heartbeat=15.0, retry=2.0)


async def serve_socket(hub: Channels, client: Stuck) -> None:
    await Socket(lambda after: hub.subscribe("a", after=after), client.receive, client.send).serve()


@pytest.mark.parametrize("serve", [serve_stream, serve_socket])
async def test_a_client_that_takes_nothing_does_not_keep_the_server_from_stopping(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "LAST_SECONDS", 0.1)
    async with Channels(MemoryChannelsBackend(history=10)) as hub:
        tasks = len(asyncio.all_tasks())
        client = Stuck()
        serving = asyncio.create_task(serve(hub, client))
        await until(lambda: hub.stats.subscribers and client.sent, "the client")
        await hub.publish("x", "a")
        await until(lambda: client.waits, "the event")
        hub.drain()
        await asyncio.wait_for(serving, 5)
        if serve is serve_socket:
            assert client.sent[-1]["code"] == GOING_AWAY
        await until(lambda: len(asyncio.all_tasks()) == tasks, "the end of what waits for the client")


async def test_a_client_that_takes_nothing_of_a_hub_that_has_ended_already_does_not_keep_it_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pump, "LAST_SECONDS", 0.1)
    async with Channels(MemoryChannelsBackend(history=10)) as hub:
        client, subscriber = Stuck(), hub.subscribe("a")
        await subscriber.open()
        await hub.publish("x", "a")
        await settled(hub)
        hub.drain()
        await asyncio.wait_for(stream_of(subscriber).serve(client.receive, client.send), 5)
        assert client.waits


async def test_who_is_cancelled_while_a_slow_client_is_given_up_is_cancelled() -> None:
    async with Channels(MemoryChannelsBackend(history=10)) as hub:
        client, subscriber = Stuck(), hub.subscribe("a")
        await subscriber.open()
        serving = asyncio.create_task(stream_of(subscriber).serve(client.receive, client.send))
        await hub.publish("x", "a")
        await until(lambda: client.waits, "the event")
        subscriber.end("backlog")
        serving.cancel()
        await asyncio.wait({serving}, timeout=5)
        assert serving.cancelled()


async def test_clients_are_asked_to_come_back_at_different_times() -> None:
    async with Channels(MemoryChannelsBackend(history=10)) as hub:
        clients = [Stuck() for _ in range(20)]
        serving = [asyncio.create_task(serve_stream(hub, client)) for client in clients]
        await until(lambda: hub.stats.subscribers == 20 and all(client.sent for client in clients), "all")
        hub.drain()
        await asyncio.wait_for(asyncio.gather(*serving), 5)
    last = [client.sent[-1]["body"].split()[1] for client in clients]
    assert all(2000 <= int(milliseconds) <= 10_000 for milliseconds in last)
    # Twenty of 8,000 figures: that most of them are the same is beyond all chance.
    assert len(set(last)) > 10


async def test_a_socket_that_was_too_slow_is_closed_with_the_code_for_that() -> None:
    async with Channels(MemoryChannelsBackend(history=10), policy="disconnect", max_backlog=1) as hub:
        client = Stuck()
        serving = asyncio.create_task(serve_socket(hub, client))
        await until(lambda: hub.stats.subscribers and client.sent, "the client")
        await hub.publish("x", "a")
        await until(lambda: client.waits, "the event")
        for _ in range(3):
            await hub.publish("x", "a")
        await asyncio.wait_for(serving, 5)
        assert client.sent[-1]["code"] == TOO_SLOW


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


@pytest.mark.parametrize("ends", [False, True])
async def test_what_waits_leaves_in_chunks_of_bounded_size(ends: bool) -> None:
    async with Channels(MemoryChannelsBackend(history=10)) as hub:
        client = Stuck()
        serving = asyncio.create_task(serve_stream(hub, client))
        await until(lambda: hub.stats.subscribers and client.sent, "the client")
        await hub.publish("x", "a")
        await until(lambda: client.waits, "the event")
        for _ in range(2 * CHUNK_EVENTS + 1):
            await hub.publish("y", "a")
        await settled(hub)
        if ends:
            hub.drain()
        client.may_take.set()
        await until(lambda: sum(map(events_in, client.sent)) > 2 * CHUNK_EVENTS, "all")
        hub.drain()
        await asyncio.wait_for(serving, 5)
    counts = [events_in(message) for message in client.sent]
    assert [count for count in counts if count] == [CHUNK_EVENTS, CHUNK_EVENTS, 1]


def events_in(message: Any) -> int:
    return int(message.get("body", b"").count(b"data: y"))
