"""Refusals that pass: READONLY, LOADING, MASTERDOWN, CLUSTERDOWN."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from gapless import BackendError, BackendUnavailable, RedisChannelsStreamBackend
from tests.conftest import make_client, server_binary
from tests.failures.test_link import link
from tests.support.holding_proxy import HoldingProxy as Proxy
from tests.support.servers import Server, free_port
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("wire")


@asynccontextmanager
async def backend_on(server: Server, **options: Any) -> AsyncIterator[RedisChannelsStreamBackend]:
    client = make_client(server)
    backend = RedisChannelsStreamBackend(100, redis=client, **options)
    await backend.on_startup()
    yield backend
    await backend.on_shutdown()
    await client.aclose()


@contextmanager
def replica_of(port: int, *options: str) -> Iterator[Server]:
    with Server(server_binary(), *options) as replica:
        replica.command("REPLICAOF", "127.0.0.1", str(port))
        yield replica


async def until_synced(replica: Server) -> None:
    await until(lambda: b"master_link_status:up" in replica.command("INFO", "replication"), "the replica")


async def held_up(call: asyncio.Future[Any], backend: Any, code: str) -> None:
    """Wait until the server has refused a call, which goes on trying."""
    publisher = backend._enter().session.publisher
    await until(lambda: publisher._refused_since > 0, f"the first {code}")
    assert not call.done()


@pytest.mark.parametrize("channels", [["room"], ["room", "other"]])
async def test_a_replica_that_is_promoted_in_time(own_server: Server, channels: list[str]) -> None:
    with replica_of(own_server.port) as replica:
        await until_synced(replica)
        async with backend_on(replica, publish_timeout=20) as backend:
            calls = asyncio.gather(*(backend.publish(b"%d" % n, channels) for n in range(50)))
            await held_up(calls, backend, "READONLY")
            await until(lambda: link(backend).generation >= 3, "new connections")
            replica.command("REPLICAOF", "NO", "ONE")
            await calls
            for channel in channels:
                kept = await backend.get_history(channel)
                assert sorted(kept) == sorted(b"%d" % n for n in range(50))


async def test_the_address_leads_to_the_primary_after_a_while(own_server: Server) -> None:
    with replica_of(own_server.port) as replica:
        await until_synced(replica)
        async with Proxy(replica.port) as proxy:
            client = make_client(replica)
            client.connection_pool.connection_kwargs["port"] = proxy.port
            backend = RedisChannelsStreamBackend(100, redis=client, publish_timeout=20)
            call = asyncio.ensure_future(backend.publish(b"1", ["room"]))
            await held_up(call, backend, "READONLY")
            proxy.target_port = own_server.port
            await call
            assert await backend.get_history("room") == [b"1"]
            await backend.on_shutdown()
            await client.aclose()


async def test_a_replica_that_stays_one(own_server: Server) -> None:
    with replica_of(own_server.port) as replica:
        await until_synced(replica)
        async with backend_on(replica, publish_timeout=1.5) as backend:
            started = time.monotonic()
            calls = [backend.publish(b"1", ["room"]) for _ in range(100)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert 1.4 < time.monotonic() - started < 5
            assert {type(result) for result in results} == {BackendError}
            assert {getattr(result, "code", None) for result in results} == {"READONLY"}
            # Doubling delays, however many callers there are.
            assert 2 <= link(backend).generation <= 15
            # The next connection comes after up to 2 s, later than `publish_timeout` here.
            await until(lambda: link(backend).ready, "a connection to read on")
            assert await backend.get_history("room") == []


async def test_a_connection_that_retires_waits_for_the_replies_that_are_due(own_server: Server) -> None:
    with replica_of(own_server.port) as replica:
        await until_synced(replica)
        async with backend_on(replica, publish_timeout=3) as backend:
            pipe = [backend.publish(bytes(20_000), ["room"]) for _ in range(200)]
            reads = [backend.get_history("room") for _ in range(50)]
            results = await asyncio.gather(*pipe, *reads, return_exceptions=True)
            # A connection cut at the first READONLY would make PublishUncertain of the others.
            assert {type(result) for result in results[:200]} == {BackendError}
            assert results[200:] == [[]] * 50


Ready = Callable[[Server], Awaitable[None]]


@asynccontextmanager
async def master_down() -> AsyncIterator[tuple[Server, Ready]]:
    async def promote(server: Server) -> None:
        server.command("REPLICAOF", "NO", "ONE")

    with replica_of(1, "--replica-serve-stale-data", "no") as replica:
        yield replica, promote


@asynccontextmanager
async def cluster_down() -> AsyncIterator[tuple[Server, Ready]]:
    async def give_slots(server: Server) -> None:
        server.command("CLUSTER", "ADDSLOTS", *(str(slot) for slot in range(16384)))

    # The nodes talk on a port 10,000 further up.
    port = next(port for port in iter(free_port, 0) if port < 55_000)
    with Server(server_binary(), "--cluster-enabled", "yes", port=port) as server:
        yield server, give_slots


@pytest.mark.parametrize(("situation", "code"), [(master_down, "MASTERDOWN"), (cluster_down, "CLUSTERDOWN")])
async def test_a_server_that_gets_ready_in_time(situation: Any, code: str) -> None:
    async with situation() as (server, ready), backend_on(server, publish_timeout=20) as backend:
        calls = asyncio.gather(*(backend.publish(b"%d" % n, ["room"]) for n in range(20)))
        read = asyncio.ensure_future(backend.get_history("room"))
        await held_up(calls, backend, code)
        assert not read.done()
        await ready(server)
        await calls
        await read
        assert len(await backend.get_history("room")) == 20


@pytest.mark.parametrize(("situation", "code"), [(master_down, "MASTERDOWN"), (cluster_down, "CLUSTERDOWN")])
async def test_a_server_that_does_not(situation: Any, code: str) -> None:
    async with situation() as (server, _), backend_on(server, publish_timeout=0.5) as backend:
        for call in (backend.publish(b"1", ["room"]), backend.get_history("room")):
            started = time.monotonic()
            with pytest.raises(BackendUnavailable, match="when the server is ready") as caught:
                await call
            assert caught.value.code == code
            assert 0.4 < time.monotonic() - started < 3


async def test_a_server_that_loads_a_data_set(own_server: Server) -> None:
    with Server(server_binary()) as replica:
        async with backend_on(replica, publish_timeout=30) as backend:
            script = "for i = 1, 500 do redis.call('SET', 'k' .. i, string.rep('x', 200)) end return 1"
            own_server.command("EVAL", script, "0")
            # 20 ms for each key are 10 s. A server that loads looks at its clients after so many bytes.
            replica.command("CONFIG", "SET", "key-load-delay", "20000")
            try:
                replica.command("CONFIG", "SET", "loading-process-events-interval-bytes", "1024")
            except RuntimeError:
                pytest.skip("Redis 6.2 looks at its clients after 2 MB only")
            replica.command("REPLICAOF", "127.0.0.1", str(own_server.port))
            await until(lambda: b"loading:1" in replica.command("INFO", "persistence"), "the loading")
            publish = asyncio.ensure_future(backend.publish(b"1", ["room"]))
            read = asyncio.ensure_future(backend.get_history("room"))
            await held_up(publish, backend, "LOADING")
            assert not read.done()
            replica.command("CONFIG", "SET", "key-load-delay", "0")
            await until_synced(replica)
            replica.command("REPLICAOF", "NO", "ONE")
            await publish
            await read
            assert await backend.get_history("room") == [b"1"]


async def test_what_waits_for_a_server_is_bounded() -> None:
    async with (
        master_down() as (server, ready),
        backend_on(server, publish_timeout=20, max_outbox_bytes=10_000) as backend,
    ):
        calls = [asyncio.ensure_future(backend.publish(bytes(1000), ["room"])) for _ in range(50)]
        refused = await until(lambda: [call for call in calls if call.done()], "the refusals")
        assert 35 < len(refused) < 50
        assert "max_outbox_bytes" in str(refused[0].exception())
        await ready(server)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(result is None for result in results) == 50 - len(refused)


@pytest.mark.parametrize("situation", [master_down, "replica"])
async def test_litestars_worker_gives_up_a_full_queue_together(
    own_server: Server, situation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class ChannelsPlugin:
        async def _pub_worker(self) -> None:
            for _ in range(100):
                await backend.publish(b"1", ["room"])

    @asynccontextmanager
    async def replica() -> AsyncIterator[tuple[Server, None]]:
        with replica_of(own_server.port) as server:
            await until_synced(server)
            yield server, None

    # What the plugin's worker is recognised by.
    ChannelsPlugin._pub_worker.__qualname__ = "ChannelsPlugin._pub_worker"
    situation = replica if situation == "replica" else situation
    async with situation() as (server, _), backend_on(server, publish_timeout=0.5) as backend:
        started = time.monotonic()
        await asyncio.create_task(ChannelsPlugin()._pub_worker())
        assert time.monotonic() - started < 8
    assert "64 events were not published" in caplog.text
