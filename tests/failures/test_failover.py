"""A replica takes over that had not yet got everything; and servers that run out of memory or lose keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from gapless import BackendError, Event, RedisChannelsStreamBackend
from gapless.testing.faults import Proxy
from gapless.testing.faults import Server as FaultyServer
from tests.conftest import make_client
from tests.failures.test_link import behind_proxy, link, push_link
from tests.failures.test_lost_replies import grow_old
from tests.failures.test_recovery import cut, numbers, publish, whole
from tests.support.servers import Server
from tests.support.waiting import take, until

pytestmark = pytest.mark.once  # most of them start servers of one kind


@asynccontextmanager
async def through(proxy: Proxy, server: Any) -> AsyncIterator[RedisChannelsStreamBackend]:
    client = make_client(server)
    client.connection_pool.connection_kwargs["port"] = proxy.port
    backend = RedisChannelsStreamBackend(1000, redis=client)
    await backend.on_startup()
    yield backend
    await backend.on_shutdown()
    await client.aclose()


async def test_a_lagging_replica_takes_over() -> None:
    with FaultyServer() as primary, FaultyServer() as replica:
        async with Proxy(primary.port) as between, Proxy(primary.port) as way, Proxy(primary.port) as away:
            await asyncio.to_thread(replica.replica_of, primary, port=between.port)
            # One consumer sees everything at once; the other one is cut off before the lost events.
            async with through(way, primary) as seeing, through(away, primary) as missing:
                for backend in (seeing, missing):
                    await backend.subscribe(["room"])
                async with aclosing(seeing.events()) as saw, aclosing(missing.events()) as missed:
                    await publish(seeing, 0)
                    assert numbers(await take(saw, 1)) == numbers(await take(missed, 1)) == [0]
                    await until(lambda: replica.command("XLEN", seeing._make_key("room")) == 1, "the replica")
                    between.stall()
                    await cut(missing, away)
                    await publish(seeing, 1, 2)
                    assert numbers(await take(saw, 2)) == [1, 2]
                    await asyncio.to_thread(replica.promote)
                    for proxy in (way, away):
                        proxy.target_port = replica.port
                        proxy.refusing = False
                        proxy.cut()
                    await until(
                        lambda: link(seeing).connected and link(seeing).generation > 1, "the failover"
                    )
                    await publish(seeing, 3)

                    gap, event = await take(saw, 2)
                    assert (gap.reason, event.data) == ("rollback", b"3")
                    gap, event = await take(missed, 2)
                    assert (gap.reason, event.data) == ("restart", b"3")
                    await publish(seeing, 4)
                    assert numbers(await take(saw, 1)) == numbers(await take(missed, 1)) == [4]


@pytest.mark.parametrize("which", ["normal", "pubsub"])
async def test_killed_connections_cost_no_event(server: Server, client: Any, which: str) -> None:
    backend = RedisChannelsStreamBackend(1000, redis=client)
    await backend.subscribe(["room"])
    killed = push_link(backend) if which == "pubsub" else link(backend)
    async with aclosing(backend.events()) as events:
        await publish(backend, 0)
        await grow_old(server)
        for number in range(1, 100):
            if number % 10 == 5:
                # Subscribed again: before, the server does not count it among those of Pub/Sub.
                kills = number // 10
                await until(lambda: killed.generation > kills, "the reconnect")
                await whole(backend)
                server.command("CLIENT", "KILL", "TYPE", which, "SKIPME", "yes")
            await publish(backend, number)
        assert numbers(await take(events, 100)) == list(range(100))
    await until(lambda: killed.generation >= 10, "the last reconnect")
    await backend.on_shutdown()


@pytest.mark.parametrize("fault", ["DEL", "PEXPIRE", "XTRIM"])
async def test_a_stream_that_is_deleted_or_trimmed_while_we_are_away(
    server: Server, streams: RedisChannelsStreamBackend, fault: str
) -> None:
    async with behind_proxy("streams", server) as (backend, proxy):
        await backend.subscribe(["room"])
        async with aclosing(backend.events()) as events:
            await publish(streams, 0)
            await take(events, 1)
            await cut(backend, proxy)
            await publish(streams, 1, 2)
            key = streams._make_key("room")
            if fault == "XTRIM":
                server.command("XTRIM", key, "MAXLEN", "=", "1")
            else:
                server.command(fault, key, *(["1"] if fault == "PEXPIRE" else []))
                await until(lambda: not server.command("EXISTS", key), "the stream to be gone")
            proxy.refusing = False
            (gap,) = await take(events, 1)
            assert (gap.reason, gap.after is not None) == ("trimmed", True)
            if fault == "XTRIM":
                assert numbers(await take(events, 1)) == [2]
            await whole(backend)
            await publish(streams, 3)
            assert numbers(await take(events, 1)) == [3]


async def test_a_server_without_memory_refuses_and_goes_on() -> None:
    with FaultyServer() as server:
        client = make_client(server)
        backend = RedisChannelsStreamBackend(1000, redis=client)
        await backend.subscribe(["room"])
        async with aclosing(backend.events()) as events:
            await publish(backend, 0)
            server.config_set("maxmemory", 1)
            with pytest.raises(BackendError, match="OOM"):
                await publish(backend, 1)
            server.config_set("maxmemory", 0)
            await publish(backend, 2)
            got = await take(events, 2)
            assert numbers(got) == [0, 2]
        await backend.on_shutdown()
        await client.aclose()


async def test_a_key_of_the_wrong_type_while_we_are_away(
    server: Server, streams: RedisChannelsStreamBackend
) -> None:
    async with behind_proxy("streams", server) as (backend, proxy):
        await backend.subscribe(["room", "other"])
        async with aclosing(backend.events()) as events:
            await publish(streams, 0)
            await take(events, 1)
            await cut(backend, proxy)
            await publish(streams, 1)
            key = streams._make_key("room")
            server.command("DEL", key)
            server.command("LPUSH", key, "a list")
            proxy.refusing = False
            (gap,) = await take(events, 1)
            assert (gap.channel, gap.reason) == ("room", "disconnected")
            await publish(streams, 2, channel="other")
            assert numbers(await take(events, 1)) == [2]
            server.command("DEL", key)
            await publish(streams, 3)
            (event,) = await take(events, 1)
            assert isinstance(event, Event)
            assert event.data == b"3"
