"""The examples of docs/testing.md; they use what a user has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from redis.asyncio import Redis

from gapless import Event, Gap, RedisChannelsStreamBackend
from gapless.testing.faults import Connection, Proxy, Server


@asynccontextmanager
async def backend_on(port: int) -> AsyncIterator[RedisChannelsStreamBackend]:
    redis = Redis(port=port)
    backend = RedisChannelsStreamBackend(history=100, redis=redis)
    await backend.on_startup()
    yield backend
    await backend.on_shutdown()
    await redis.aclose()


async def test_a_subscriber_whose_connection_breaks_misses_nothing() -> None:
    with Server() as server:
        async with (
            Proxy(server.port) as proxy,
            backend_on(server.port) as publisher,
            backend_on(proxy.port) as subscriber,
        ):
            await subscriber.subscribe(["news"])

            proxy.refusing = True
            proxy.cut()
            await publisher.publish(b"while it was away", ["news"])
            proxy.refusing = False

            async with asyncio.timeout(10), aclosing(subscriber.events()) as events:
                event = await anext(events)
            assert isinstance(event, Event)
            assert event.data == b"while it was away"


def subscribes(connection: Connection) -> bool:
    return "SUBSCRIBE" in connection.commands


async def test_a_push_that_is_lost_shows_at_the_next_event() -> None:
    with Server() as server:
        async with (
            Proxy(server.port) as proxy,
            backend_on(server.port) as publisher,
            backend_on(proxy.port) as subscriber,
        ):
            await subscriber.subscribe(["news"])

            proxy.drop_next_reply(subscribes)
            await publisher.publish(b"lost", ["news"])
            await publisher.publish(b"next", ["news"])

            async with asyncio.timeout(10), aclosing(subscriber.events()) as events:
                received = [await anext(events) for _ in range(2)]
            assert [event.data for event in received if isinstance(event, Event)] == [b"lost", b"next"]


async def test_a_server_that_comes_back_with_an_old_backup_is_a_gap() -> None:
    with Server(persistence="rdb") as server:
        async with backend_on(server.port) as backend, aclosing(backend.events()) as events:
            await backend.subscribe(["news"])
            await backend.publish(b"in the backup", ["news"])
            server.save_snapshot()
            await backend.publish(b"lost by the server", ["news"])
            received = [await anext(events), await anext(events)]

            await asyncio.to_thread(server.restart_from_snapshot)

            await backend.publish(b"new", ["news"])
            async with asyncio.timeout(20):
                while not isinstance(received[-1], Event) or received[-1].data != b"new":
                    received.append(await anext(events))
            assert any(isinstance(item, Gap) for item in received)
