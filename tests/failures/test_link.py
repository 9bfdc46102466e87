"""The links under faults: what the caller sees, what state is left, what was sent."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from gapless import (
    BackendUnavailable,
    Event,
    PublishUncertain,
    RedisChannelsPubSubBackend,
    RedisChannelsStreamBackend,
)
from gapless.testing.faults import Proxy
from tests.conftest import MakeBackend, make_client
from tests.support.servers import Server
from tests.support.waiting import take, until

pytestmark = pytest.mark.usefixtures("wire")


@asynccontextmanager
async def behind_proxy(kind: str, server: Server, **options: Any) -> AsyncIterator[tuple[Any, Proxy]]:
    """A backend whose connections go through a proxy."""
    async with Proxy(server.port) as proxy:
        client = _client_on(server, proxy.port)
        backend: Any = (
            RedisChannelsStreamBackend(1000, redis=client, **options)
            if kind == "streams"
            else RedisChannelsPubSubBackend(redis=client, **options)
        )
        yield backend, proxy
        await backend.on_shutdown()
        await client.aclose()


def _client_on(server: Server, port: int) -> Any:
    client = make_client(server)
    client.connection_pool.connection_kwargs["port"] = port
    return client


def link(backend: Any) -> Any:
    return backend._enter().session.commands.link


def push_link(backend: Any) -> Any:
    return backend._enter().session.pushes.link


async def delivers(backend: Any, channel: str = "room") -> bool:
    """Publish a mark, once the server has confirmed the channel, and look whether it comes.

    SUBSCRIBE and PUBLISH take two connections: without the wait the server may see the mark first.
    """
    live = backend._enter().session.subscriptions.live
    await until(lambda: any(wanted.channel == channel for wanted in live.values()), "the subscription")
    await backend.publish(b"mark", [channel])
    async with aclosing(backend.stream_events()) as stream:
        try:
            async with asyncio.timeout(1):
                while await anext(stream) != (channel, b"mark"):
                    pass
        except TimeoutError:
            return False
    return True


async def test_a_cancelled_caller_does_not_shift_the_replies(streams: Any) -> None:
    await streams.publish(b"1", ["a"])
    for _ in range(50):
        calls = [asyncio.ensure_future(streams.get_history("a" if n % 2 else "none")) for n in range(10)]
        await asyncio.sleep(0)
        for call in calls[::3]:
            call.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        for number, result in enumerate(results):
            if number % 3:
                assert result == ([b"1"] if number % 2 else [])


async def test_a_lost_reply_is_reported_and_the_publish_not_repeated(server: Server, kind: str) -> None:
    async with behind_proxy(kind, server) as (backend, proxy):
        await backend.publish(b"0", ["room"])
        proxy.to_client.discarding = True
        call = asyncio.ensure_future(backend.publish(b"1", ["room", "other"]))
        await until(lambda: b"evalsha" in server.command("INFO", "commandstats"), "the server to execute it")
        if kind == "streams":
            await until(lambda: server.command("XLEN", "LITESTAR_CHANNELS_room") == 2, "the entry")
        else:
            await asyncio.sleep(0.1)
        proxy.cut()
        with pytest.raises(PublishUncertain) as caught:
            await call
        assert caught.value.channels == ("room", "other")
        proxy.to_client.discarding = False
        await backend.publish(b"2", ["room"])
        if kind == "streams":
            assert await backend.get_history("room") == [b"0", b"1", b"2"]


async def test_what_was_not_sent_is_sent_after_the_reconnect(server: Server, kind: str) -> None:
    async with behind_proxy(kind, server) as (backend, proxy):
        await backend.subscribe(["room"])
        for number in range(4):
            proxy.refusing = True
            proxy.cut()
            await until(lambda: not link(backend).connected, "the loss to be noticed")
            publishing = asyncio.ensure_future(backend.publish(b"%d" % number, ["room"]))
            await asyncio.sleep(0)
            proxy.refusing = False
            await publishing
            await until(
                lambda number=number: push_link(backend).generation == number + 2,  # type: ignore[misc]
                "the new subscriber link",
            )
            await until(lambda: backend._enter().session.subscriptions.live, "the resubscription")
            assert await delivers(backend)
        if kind == "streams":
            kept = [data for data in await backend.get_history("room") if data != b"mark"]
            assert kept == [b"%d" % number for number in range(4)]


async def test_while_refused_publishers_wait_and_then_get_an_error(server: Server, kind: str) -> None:
    async with behind_proxy(kind, server, publish_timeout=0.3) as (backend, proxy):
        await backend.publish(b"0", ["room"])
        proxy.refusing = True
        proxy.cut()
        await until(lambda: not link(backend).connected, "the loss to be noticed")
        started = time.monotonic()
        with pytest.raises(BackendUnavailable, match="no connection for") as caught:
            await backend.publish(b"1", ["room"])
        assert 0.25 < time.monotonic() - started < 5
        assert caught.value.since is not None
        proxy.refusing = False
        await until(lambda: link(backend).connected, "the reconnect")
        await backend.publish(b"2", ["room"])


async def test_publishes_that_wait_for_a_connection_are_bounded(server: Server, kind: str) -> None:
    async with behind_proxy(kind, server, max_outbox_bytes=10_000, publish_timeout=5) as (backend, proxy):
        await backend.on_startup()
        proxy.refusing = True
        proxy.cut()
        await until(lambda: not link(backend).connected, "the loss to be noticed")
        calls = [asyncio.ensure_future(backend.publish(bytes(1000), ["room"])) for _ in range(50)]
        await asyncio.sleep(0)
        refused = await until(lambda: [call for call in calls if call.done()], "the refusals")
        assert 35 < len(refused) < 50
        assert "max_outbox_bytes" in str(refused[0].exception())
        proxy.refusing = False
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(result is None for result in results) == 50 - len(refused)


async def test_a_dead_connection_is_noticed_though_nothing_is_closed(server: Server, kind: str) -> None:
    async with behind_proxy(kind, server, liveness_timeout=0.8) as (backend, proxy):
        await backend.on_startup()
        await backend.subscribe(["room"])
        assert await delivers(backend)
        before = proxy.accepted
        proxy.stall()
        started = time.monotonic()
        await until(lambda: not push_link(backend).connected, "the dead subscriber link to be noticed")
        await until(lambda: not link(backend).connected, "the dead command link to be noticed")
        assert time.monotonic() - started < 3
        proxy.flow()
        await until(lambda: push_link(backend).connected and link(backend).connected, "the reconnect")
        assert proxy.accepted >= before + 2
        assert await delivers(backend)


@pytest.mark.parametrize("wire", ["takeover"], indirect=True)
async def test_a_reset_connection_leaves_no_exception_that_nobody_fetches(server: Server, kind: str) -> None:
    async with behind_proxy(kind, server) as (backend, proxy):
        await backend.on_startup()
        previous = backend._enter().session.commands._wire._previous  # the client library's, off duty
        for connection in proxy.connections:
            # With a RST, as of a process that died.
            client = connection._writers[0].get_extra_info("socket")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        proxy.cut()
        await until(lambda: link(backend).generation > 1, "the reconnect")
        assert "reset" in str(backend.health().commands.last_error)
        # Else asyncio logs it when the object is collected, if it is collected in an unlucky order.
        assert previous._closed.exception() is None


@pytest.mark.once
async def test_a_quiet_connection_is_kept(server: Server, kind: str) -> None:
    async with behind_proxy(kind, server, liveness_timeout=0.4) as (backend, proxy):
        await backend.on_startup()
        await backend.subscribe(["room"])
        before = proxy.accepted
        await asyncio.sleep(2)
        assert proxy.accepted == before
        await backend.unsubscribe(["room"])  # a subscriber link without channels answers PING otherwise
        await asyncio.sleep(1)
        assert proxy.accepted == before


@pytest.mark.once
async def test_a_stalled_event_loop_does_not_cost_the_connection(server: Server, kind: str) -> None:
    async with behind_proxy(kind, server, liveness_timeout=0.4) as (backend, proxy):
        await backend.on_startup()
        await backend.subscribe(["room"])
        before = proxy.accepted
        for _ in range(5):
            time.sleep(0.5)
            await asyncio.sleep(0.2)
        assert proxy.accepted == before


async def test_a_paused_server_bounds_every_wait(own_server: Server, kind: str) -> None:
    client = make_client(own_server)
    options = {
        "publish_timeout": 0.5,
        "subscribe_timeout": 0.5,
        "liveness_timeout": 0.8,
        "connect_timeout": 0.5,
    }
    backend: Any = (
        RedisChannelsStreamBackend(10, redis=client, **options)  # type: ignore[arg-type]
        if kind == "streams"
        else RedisChannelsPubSubBackend(redis=client, **options)  # type: ignore[arg-type]
    )
    await backend.on_startup()
    await backend.subscribe(["room"])
    own_server.pause()
    calls: list[Any] = [
        backend.publish(b"1", ["room"]),
        backend.subscribe(["new"]),
        backend.unsubscribe(["room"]),
    ]
    if kind == "streams":
        calls.append(backend.get_history("room"))
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
    assert isinstance(results[0], PublishUncertain | BackendUnavailable)
    assert results[1:3] == [None, None]
    assert all(isinstance(result, BackendUnavailable) for result in results[3:])
    own_server.resume()
    await until(lambda: push_link(backend).connected and link(backend).connected, "the reconnect")
    assert await delivers(backend, "new")
    own_server.pause()
    await asyncio.wait_for(backend.on_shutdown(), 5)
    own_server.resume()
    await client.aclose()


async def test_ten_thousand_channels_are_back_after_a_kill(
    server: Server, kind: str, make_backend: MakeBackend
) -> None:
    backend = make_backend()
    channels = [f"room{n}" for n in range(10_000)]
    await backend.subscribe(channels)
    live = backend._enter().session.subscriptions.live
    assert len(live) == 10_000
    server.command("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: len(live) < 10_000, "the loss to be noticed")
    await until(lambda: len(live) == 10_000, "all channels to be back")
    for channel in (channels[0], channels[-1]):
        assert await delivers(backend, channel)


async def test_script_flush_costs_no_event(server: Server, make_backend: MakeBackend) -> None:
    backend = make_backend()
    await backend.subscribe(["a", "b"])
    for number in range(5):
        server.command("SCRIPT", "FLUSH")
        await asyncio.gather(*(backend.publish(b"%d%d" % (number, n), ["a", "b"]) for n in range(5)))
    async with aclosing(backend.stream_events()) as stream:
        got = await take(stream, 50)
    assert {data for _, data in got} == {b"%d%d" % (number, n) for number in range(5) for n in range(5)}
    assert len(got) == 50


async def test_a_reply_out_of_step_costs_the_connection_and_nothing_else(make_backend: MakeBackend) -> None:
    backend = make_backend()
    await backend.subscribe(["room"])
    await backend.publish(b"1", ["room"])
    session = backend._enter().session
    for wire in (session.commands._wire, session.pushes._wire):
        wire.send(
            b"*1\r\n$4\r\nPING\r\n"
            if wire is session.commands._wire
            else b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nx\r\n"
        )
    await until(lambda: session.commands.link.generation == 2, "a new command connection")
    await until(lambda: session.pushes.link.generation == 2, "a new subscriber connection")
    await until(lambda: session.subscriptions.live, "the resubscription")
    assert await delivers(backend)


async def test_a_broken_link_of_the_chain_is_looked_into(server: Server, streams: Any) -> None:
    await streams.subscribe(["room"])
    await streams.publish(b"1", ["room"])
    async with aclosing(streams.events()) as events:
        (first,) = await take(events, 1)
        server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: push_link(streams).generation == 2, "the reconnect")
        await until(lambda: streams._enter().session.subscriptions.live, "the resubscription")
        await streams.publish(b"2", ["room"])
        (second,) = await take(events, 1)
        assert isinstance(second, Event), "nothing was missed, so there is no gap"
        # Somebody else appends without a push that reaches us: taken out of the chain on purpose.
        server.command("SET", streams._keys.last(streams._make_key("room")), "9-9")
        await streams.publish(b"3", ["room"])
        (third,) = await take(events, 1)
        assert third.data == b"3", "the stream shows that nothing is missing, whatever the frame says"
        assert first.id < second.id < third.id


async def test_foreign_messages_are_ignored(streams: Any, client: Any) -> None:
    await streams.subscribe(["room"])
    for message in (
        b"",
        b"hello",
        b"g1-0 g-",
        b"g2 1-0 - x",
        b"a b c d e",
        b"g\xff g- x",
        b"g1-0 gx x",
        b"g1-0 g1-0",
        b"5 * 3",
        b"two  spaces",
        b"  ",
    ):
        await client.publish(streams._make_key("room"), message)
    await streams.publish(b"ours", ["room"])
    async with aclosing(streams.events()) as events:
        (event,) = await take(events, 1)
    assert event.data == b"ours"


@pytest.mark.once
async def test_a_foreign_message_is_not_the_first_event(server: Server, client: Any) -> None:
    """After a reconnect of a channel that has none: frames of first events name "g-" as their predecessor."""
    async with behind_proxy("streams", server) as (backend, _):
        await backend.subscribe(["room"])
        generation = push_link(backend).generation
        server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: push_link(backend).generation > generation, "the next connection")
        await until(lambda: backend.health().whole, "the channel")
        await client.publish(backend._make_key("room"), b"level g- x")
        await backend.publish(b"ours", ["room"])
        async with aclosing(backend.events()) as events:
            (event,) = await take(events, 1)
        assert event.data == b"ours"


@pytest.mark.once
async def test_nothing_is_left_behind(server: Server, kind: str) -> None:
    """Reconnects, subscriptions and cancelled calls leave no task, no future and no channel."""
    async with behind_proxy(kind, server) as (backend, proxy):
        await backend.on_startup()
        tasks = len(asyncio.all_tasks())
        for number in range(8):
            generation = push_link(backend).generation
            call = asyncio.ensure_future(backend.subscribe([f"room{number}", "room"]))
            await asyncio.sleep(0)
            if number % 2:
                call.cancel()
            proxy.cut()
            await asyncio.gather(call, return_exceptions=True)
            await until(
                lambda generation=generation: (
                    push_link(backend).generation > generation  # type: ignore[misc]
                    and push_link(backend).connected
                    and link(backend).connected
                ),
                "the reconnect",
            )
            await backend.unsubscribe([f"room{number}", "room"])
        session = backend._enter().session
        assert len(session.subscriptions) == 0
        assert not session.subscriptions.live
        assert not session.commands._pending
        assert not session.commands.link._waiters
        assert not session.pushes.link._waiters
        await until(lambda: len(asyncio.all_tasks()) <= tasks + 6, "the proxy's tasks to end")
    gc.collect()
    assert len(asyncio.all_tasks()) == 1


async def test_a_shutdown_while_a_lost_connection_closes_leaves_nothing_open(
    server: Server, kind: str
) -> None:
    for turns in range(12):
        async with behind_proxy(kind, server) as (backend, proxy):
            await backend.on_startup()
            proxy.cut()
            while link(backend).connected:
                await asyncio.sleep(0)
            for _ in range(turns):
                await asyncio.sleep(0)
    gc.collect()  # warns of connections that are open
