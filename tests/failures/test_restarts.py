"""What a consumer of streams sees when the server is restarted, with its data, with older data, without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from gapless import Event, Gap, RedisChannelsStreamBackend
from tests.conftest import make_client, server_binary
from tests.failures.test_link import behind_proxy, link, push_link
from tests.failures.test_recovery import cut, numbers, publish, recovery, whole
from tests.support.servers import Server
from tests.support.waiting import take, until


@asynccontextmanager
async def publisher_on(server: Any) -> AsyncIterator[Any]:
    client = make_client(server)
    backend = RedisChannelsStreamBackend(1000, redis=client)
    await backend.on_startup()
    yield backend
    await backend.on_shutdown()
    await client.aclose()


async def restart(server: Any, publisher: Any) -> None:
    """kill -9 and start, with what the server wrote: its log, or what SAVE saved, or nothing."""
    before = link(publisher).generation
    server.kill()
    server.start()
    await until(
        lambda: link(publisher).generation > before and link(publisher).ready, "the publisher is back"
    )


async def test_a_durable_server_may_restart() -> None:
    with Server(server_binary(), "--appendonly", "yes", "--appendfsync", "always") as server:
        async with behind_proxy("streams", server) as (backend, proxy), publisher_on(server) as publisher:
            await backend.subscribe(["room"])
            async with aclosing(backend.events()) as events:
                await publish(publisher, 0)
                await take(events, 1)
                await cut(backend, proxy)
                await publish(publisher, 1)
                await restart(server, publisher)
                await publish(publisher, 2)
                proxy.refusing = False
                assert numbers(await take(events, 2)) == [1, 2]
                await whole(backend)
                await publish(publisher, 3)
                (item,) = await take(events, 1)
                assert isinstance(item, Event), "no gap: the server wrote everything before it answered"
                # The next outage has nothing to do with that restart.
                await cut(backend, proxy)
                await publish(publisher, 4)
                proxy.refusing = False
                (item,) = await take(events, 1)
                assert isinstance(item, Event)


@pytest.mark.parametrize("declared", [None, True])
async def test_a_restart_is_a_gap_unless_the_server_is_durable(declared: bool | None) -> None:
    with Server(server_binary(), "--appendonly", "yes", "--appendfsync", "everysec") as server:
        async with (
            behind_proxy("streams", server, durable=declared) as (backend, proxy),
            publisher_on(server) as publisher,
        ):
            await backend.subscribe(["room", "quiet"])
            async with aclosing(backend.events()) as events:
                await publish(publisher, 0)
                (first,) = await take(events, 1)
                await cut(backend, proxy)
                await restart(server, publisher)
                proxy.refusing = False
                if declared is None:
                    gaps = await take(events, 2)
                    assert {(gap.channel, gap.after, gap.reason) for gap in gaps} == {
                        ("room", first.id, "restart"),
                        ("quiet", None, "restart"),
                    }
                await whole(backend)
                await publish(publisher, 1)
                assert numbers(await take(events, 1)) == [1]


async def test_an_older_snapshot_is_a_rollback() -> None:
    with Server(server_binary()) as server:
        async with behind_proxy("streams", server) as (backend, proxy), publisher_on(server) as publisher:
            await backend.subscribe(["room"])
            async with aclosing(backend.events()) as events:
                await publish(publisher, 0)
                server.command("SAVE")
                await publish(publisher, 1, 2)
                *_, last = await take(events, 3)
                await cut(backend, proxy)
                await restart(server, publisher)
                await publish(publisher, 3)
                proxy.refusing = False
                gap, new = await take(events, 2)
                assert gap == Gap("room", last.id, "rollback")
                assert numbers([new]) == [3]
                await whole(backend)
                await publish(publisher, 4)
                assert numbers(await take(events, 1)) == [4]


async def test_what_was_never_seen_of_a_lost_history_is_a_gap() -> None:
    with Server(server_binary()) as server:
        async with behind_proxy("streams", server) as (backend, proxy), publisher_on(server) as publisher:
            await backend.subscribe(["room"])
            async with aclosing(backend.events()) as events:
                await publish(publisher, 0)
                await take(events, 1)
                await cut(backend, proxy)
                await publish(publisher, 1)
                server.command("SAVE")
                await publish(publisher, 2)  # acknowledged, seen by nobody, and thrown away
                await restart(server, publisher)
                await publish(publisher, 3)
                proxy.refusing = False
                one, gap, three = await take(events, 3)
                assert numbers([one, three]) == [1, 3]
                assert gap == Gap("room", one.id, "restart")


async def test_an_empty_server_is_a_gap() -> None:
    with Server(server_binary()) as server:
        async with behind_proxy("streams", server) as (backend, proxy), publisher_on(server) as publisher:
            await backend.subscribe(["room", "quiet"])
            async with aclosing(backend.events()) as events:
                await publish(publisher, 0)
                (first,) = await take(events, 1)
                await cut(backend, proxy)
                await restart(server, publisher)
                proxy.refusing = False
                gaps = await take(events, 2)
                assert {(gap.channel, gap.after, gap.reason) for gap in gaps} == {
                    ("room", first.id, "reset"),
                    ("quiet", None, "restart"),
                }
                await whole(backend)
                await until(lambda: recovery(backend).syncing == 0, "the end of recovery")
                await publish(publisher, 1)
                assert numbers(await take(events, 1)) == [1]


async def test_a_reader_that_resumes_is_told_of_a_restart() -> None:
    with Server(server_binary(), "--save", "") as server:
        async with publisher_on(server) as publisher:
            declared = RedisChannelsStreamBackend(1000, redis=publisher._redis, durable=True)
            await publish(publisher, 0, 1)
            last = (await publisher.read("room"))[-1]
            assert isinstance(last, Event)
            position = await publisher.position("room")
            server.command("SAVE")
            await publish(publisher, 2)  # acknowledged, and lost without a trace
            await restart(server, publisher)

            (gap,) = await publisher.read("room", after=last.id)
            assert gap.reason == "restart"
            assert gap.after.startswith(f"{last.id}@")
            assert await publisher.read("room", after=position) == [gap]
            assert await publisher.read("room", after=gap.after) == [], "it has been told"
            assert await publisher.read("room", after=await publisher.position("room")) == []

            await publish(publisher, 3)
            (gap, event) = await publisher.read("room", after=last.id)
            assert gap == Gap("room", last.id, "restart")
            assert numbers([event]) == [3]
            assert await publisher.read("room", after=last.id, limit=1) == [gap, event]
            assert await publisher.read("room", after=event.id) == []
            first = (await publisher.read("room"))[0]
            assert isinstance(first, Event)
            # In its place: after what the old server had.
            found = await publisher.read("room", after=first.id)
            assert [item == gap or numbers([item]) for item in found] == [[1], True, [3]]
            assert numbers(await publisher.read("room", after=first.id, limit=1)) == [1]
            # Also without an id to begin with.
            assert await publisher.read("room") == [first, *found]
            assert await publisher.read("room", limit=2) == [first, found[0]]
            assert numbers(await declared.read("room")) == [0, 1, 3]
            assert len(await declared.read("room")) == 3
            await declared.on_shutdown()


async def test_a_reader_that_resumes_after_a_quiet_channel_has_expired() -> None:
    with Server(server_binary(), "--save", "") as server:
        async with publisher_on(server) as publisher:
            await publish(publisher, 0)
            position = await publisher.position("room")
            assert position is not None
            server.command("DEL", publisher._make_key("room"))
            assert await publisher.read("room", after=position) == []
            server.command("SAVE")
            await restart(server, publisher)
            (gap,) = await publisher.read("room", after=position)
            assert gap.reason == "restart"
            assert await publisher.read("room", after=gap.after) == []
            # An id alone does not say which server the reader knows.
            assert await publisher.read("room", after=position.partition("@")[0]) == []


async def test_a_reader_of_a_server_that_loses_nothing_is_told_of_no_restart() -> None:
    with Server(server_binary(), "--appendonly", "yes", "--appendfsync", "always") as server:
        client = make_client(server)
        declared = RedisChannelsStreamBackend(1000, redis=client, durable=True)
        async with publisher_on(server) as publisher:
            # Connected for pushes, it sees for itself.
            await publisher.subscribe(["other"])
            await publish(publisher, 0)
            (first,) = await publisher.read("room")
            assert isinstance(first, Event)
            await restart(server, publisher)
            await whole(publisher)
            await publish(publisher, 1)
            for reader in (declared, publisher):
                assert numbers(await reader.read("room", after=first.id)) == [1]
                assert len(await reader.read("room", after=first.id)) == 1
        await declared.on_shutdown()
        await client.aclose()


async def test_a_subscribe_during_a_restart_is_in_no_doubt_later() -> None:
    with Server(server_binary(), "--save", "") as server:
        async with publisher_on(server) as backend:
            await backend.subscribe(["a"])
            server.kill()
            await until(lambda: not push_link(backend).connected, "the loss")
            subscribing = asyncio.ensure_future(backend.subscribe(["b"]))
            await asyncio.sleep(0)
            server.start()
            await subscribing
            await whole(backend)
            async with aclosing(backend.events()) as events:
                (gap,) = await take(events, 1)
                assert (gap.channel, gap.reason) == ("a", "restart")
                # Where it stands could not be asked while the server was away.
                await publish(backend, 0, channel="b")
                assert numbers(await take(events, 1)) == [0]
                generation = push_link(backend).generation
                push_link(backend).renew("harmless: the same server")
                await until(lambda: push_link(backend).generation > generation, "the new connection")
                await whole(backend)
                await publish(backend, 1, channel="b")
                assert numbers(await take(events, 1)) == [1]
