"""Bad arguments are refused at construction; servers that refuse are reported to the caller of publish."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from gapless import (
    BackendError,
    BackendUnavailable,
    ConfigurationError,
    MemoryChannelsBackend,
    PermissionDenied,
    RedisChannelsPubSubBackend,
    RedisChannelsStreamBackend,
    UnsupportedServer,
)
from tests.conftest import CLIENT, MakeBackend, make_client, server_binary
from tests.support.servers import Server
from tests.support.waiting import take, until


class TestConstruction:
    """No server, no event loop."""

    @pytest.fixture
    def client(self) -> Any:
        return importlib.import_module(f"{CLIENT}.asyncio").from_url("redis://127.0.0.1:1")

    def test_a_blocking_client(self) -> None:
        blocking = importlib.import_module(CLIENT).from_url("redis://127.0.0.1:1")
        with pytest.raises(ConfigurationError, match=rf"blocking client; use {CLIENT}\.asyncio"):
            RedisChannelsPubSubBackend(redis=blocking)

    @pytest.mark.parametrize("url", ["redis://localhost", b"redis://localhost"])
    def test_a_url(self, url: Any) -> None:
        with pytest.raises(ConfigurationError, match="from_url"):
            RedisChannelsPubSubBackend(redis=url)

    def test_a_cluster_client(self) -> None:
        library = importlib.import_module(f"{CLIENT}.asyncio")
        cluster = library.RedisCluster if CLIENT == "redis" else library.ValkeyCluster
        with pytest.raises(ConfigurationError, match="cluster clients are not supported yet"):
            RedisChannelsStreamBackend(1, redis=cluster(host="127.0.0.1", port=1))

    @pytest.mark.parametrize("thing", [None, 1, object(), dict])
    def test_something_else(self, thing: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"expected a redis\.asyncio\.Redis"):
            RedisChannelsPubSubBackend(redis=thing)

    def test_the_client_class_instead_of_a_client(self, client: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"expected a redis\.asyncio\.Redis"):
            RedisChannelsPubSubBackend(redis=type(client))

    @pytest.mark.parametrize("history", [-1, 1.5, "10", None, True])
    def test_history(self, client: Any, history: Any) -> None:
        with pytest.raises(ConfigurationError, match="history: expected an int of at least 0"):
            RedisChannelsStreamBackend(history, redis=client)
        with pytest.raises(ConfigurationError, match="history: expected an int of at least 0"):
            MemoryChannelsBackend(history)

    @pytest.mark.parametrize(
        "option",
        [
            {"stream_sleep_no_subscriptions": -1},
            {"stream_sleep_no_subscriptions": "1"},
            {"publish_timeout": 0},
            {"subscribe_timeout": float("nan")},
            {"liveness_timeout": float("inf")},
            {"connect_timeout": "5"},
            {"max_backlog": 0},
            {"max_backlog_bytes": -1},
            {"max_outbox_bytes": 1.0},
            {"key_prefix": None},
            {"key_prefix": "{"},
        ],
        ids=str,
    )
    def test_options(self, client: Any, option: dict[str, Any]) -> None:
        (name,) = option
        with pytest.raises(ConfigurationError, match=name):
            RedisChannelsPubSubBackend(redis=client, **option)

    @pytest.mark.parametrize("limit", [0, -1, 1.5, "10", None])
    def test_max_push_bytes(self, client: Any, limit: Any) -> None:
        with pytest.raises(ConfigurationError, match="max_push_bytes: expected an int of at least 1"):
            RedisChannelsStreamBackend(10, redis=client, max_push_bytes=limit)

    def test_a_configuration_error_is_a_value_error(self) -> None:
        assert issubclass(ConfigurationError, ValueError)

    def test_an_unknown_keyword(self, client: Any) -> None:
        with pytest.raises(TypeError, match="pubish_timeout"):
            RedisChannelsPubSubBackend(redis=client, pubish_timeout=1)

    @pytest.mark.parametrize("prefix", ["a*", "a?b", "[x]", "a\\", "a b", "{app}"])
    async def test_a_prefix_with_glob_characters_works(
        self, make_backend: MakeBackend, prefix: str, server: Server
    ) -> None:
        backend = make_backend(key_prefix=prefix, redis=make_client(server))
        await backend.subscribe(["room"])
        await backend.publish(b"1", ["room"])
        async with aclosing(backend.stream_events()) as stream:
            assert await take(stream, 1) == [("room", b"1")]
        await backend._redis.aclose()


class TestPayload:
    @pytest.mark.parametrize(
        "data",
        [b"", b"\0", bytearray(b"mutable"), memoryview(b"view")],
        ids=["empty", "NUL", "bytearray", "memoryview"],
    )
    async def test_bytes_of_any_kind(self, backend: Any, data: Any) -> None:
        await backend.subscribe(["room"])
        await backend.publish(data, ["room"])
        async with aclosing(backend.stream_events()) as stream:
            assert await take(stream, 1) == [("room", bytes(data))]

    async def test_ten_megabytes(self, make_backend: MakeBackend, wire: str) -> None:
        backend = make_backend()
        payload = bytes(10_000_000)
        await backend.subscribe(["room", "other"])
        async with aclosing(backend.stream_events()) as stream:
            # One after the other: a server cuts off a subscriber for which 32 MB pile up.
            for channels in (["room"], ["room", "other"]):
                await backend.publish(payload, channels)
                got = await take(stream, len(channels), seconds=40)
                assert [channel for channel, _ in got] == channels
                assert all(data == payload for _, data in got)

    @pytest.mark.parametrize("data", ["text", None, 1, [b"x"]], ids=repr)
    async def test_not_bytes(self, backend: Any, data: Any) -> None:
        with pytest.raises(TypeError, match="data: expected bytes"):
            await backend.publish(data, ["room"])


@pytest.fixture
async def other(make_backend: MakeBackend) -> AsyncIterator[Any]:
    """A backend with a consumer, to see that the reader lives."""
    backend = make_backend()
    await backend.subscribe(["other"])
    yield backend


async def still_works(backend: Any) -> None:
    await backend.publish(b"still works", ["other"])
    async with aclosing(backend.stream_events()) as stream:
        assert await take(stream, 1) == [("other", b"still works")]


class TestServerRefuses:
    @pytest.mark.parametrize("kind", ["streams"])
    async def test_a_key_of_the_wrong_type(self, other: Any, client: Any, kind: str) -> None:
        await client.set(other._make_key("room"), "a string")
        with pytest.raises(BackendError, match=r"WRONGTYPE.*delete it, or use another key_prefix") as caught:
            await other.publish(b"1", ["room"])
        assert caught.value.code == "WRONGTYPE"
        await still_works(other)

    @pytest.mark.parametrize("kind", ["streams"])
    async def test_a_publish_to_many_channels_is_all_or_nothing(self, other: Any, client: Any) -> None:
        await client.set(other._make_key("bad"), "a string")
        with pytest.raises(BackendError, match="WRONGTYPE"):
            await other.publish(b"1", ["other", "bad", "more"])
        assert await other.get_history("other") == []
        await still_works(other)

    async def test_out_of_memory(self, kind: str, own_server: Server) -> None:
        client = make_client(own_server)
        backend: Any = (
            RedisChannelsStreamBackend(10, redis=client)
            if kind == "streams"
            else RedisChannelsPubSubBackend(redis=client)
        )
        await backend.subscribe(["other"])
        await client.config_set("maxmemory", "1")
        if kind == "streams":
            with pytest.raises(BackendError, match="maxmemory") as caught:
                await backend.publish(b"1", ["room"])
            assert caught.value.code == "OOM"
        await client.config_set("maxmemory", "0")
        await still_works(backend)
        await backend.on_shutdown()
        await client.aclose()

    async def test_a_read_only_replica(self, own_server: Server) -> None:
        with Server(server_binary()) as replica:
            replica.command("REPLICAOF", "127.0.0.1", str(own_server.port))
            client = make_client(replica)
            await until(
                lambda: b"master_link_status:up" in replica.command("INFO", "replication"), "the replica"
            )
            backend = RedisChannelsStreamBackend(10, redis=client)
            await backend.subscribe(["other"])
            with pytest.raises(BackendError, match="point the client at the primary") as caught:
                await backend.publish(b"1", ["room"])
            assert caught.value.code == "READONLY"
            replica.command("REPLICAOF", "NO", "ONE")
            await still_works(backend)
            await backend.on_shutdown()
            await client.aclose()

    async def test_a_wrong_password(self, kind: str, server: Server, make_backend: MakeBackend) -> None:
        client = make_client(server, username="nobody", password="wrong")
        backend = make_backend(redis=client, publish_timeout=5)
        for call in (
            backend.on_startup,
            lambda: backend.publish(b"1", ["room"]),
            lambda: backend.subscribe(["room"]),
            lambda: backend.publish(b"1", ["room"]),
        ):
            with pytest.raises(PermissionDenied, match="check username and password"):
                await asyncio.wait_for(call(), 2)
        # Not deaf for good: the user is created, and the same backend works.
        server.command("ACL", "SETUSER", "nobody", "on", ">wrong", "~*", "&*", "+@all")
        await until(lambda: works(backend), "publish after the password was set", seconds=20)
        await backend.on_shutdown()
        server.command("ACL", "DELUSER", "nobody")
        await client.aclose()

    async def test_no_permission_for_scripts(self, kind: str, server: Server) -> None:
        server.command("ACL", "SETUSER", "limited", "reset", "on", ">pw", "~*", "&*", "+@all", "-@scripting")
        client = make_client(server, username="limited", password="pw")
        backend: Any = (
            RedisChannelsStreamBackend(10, redis=client)
            if kind == "streams"
            else RedisChannelsPubSubBackend(redis=client)
        )
        await backend.subscribe(["other"])
        with pytest.raises(PermissionDenied, match=r"\+evalsha") as caught:
            await backend.publish(b"1", ["other", "room"])
        assert caught.value.code == "NOPERM"
        server.command("ACL", "SETUSER", "limited", "+@scripting")
        await still_works(backend)
        await backend.on_shutdown()
        await client.aclose()
        server.command("ACL", "DELUSER", "limited")

    async def test_a_channel_that_the_user_may_not_hear(self, server: Server, kind: str) -> None:
        server.command(
            "ACL",
            "SETUSER",
            "limited",
            "reset",
            "on",
            ">pw",
            "~*",
            "+@all",
            "resetchannels",
            "&P_other",
            "&P_ok*",
        )
        client = make_client(server, username="limited", password="pw")
        backend: Any = (
            RedisChannelsStreamBackend(10, redis=client, key_prefix="P")
            if kind == "streams"
            else RedisChannelsPubSubBackend(redis=client, key_prefix="P")
        )
        await backend.subscribe(["other"])
        calls = [
            backend.subscribe([f"ok{n}" for n in range(50)]),
            backend.subscribe(["ok51", "secret", "ok52"]),
            backend.subscribe(["ok53"]),
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), PermissionDenied, type(None)]
        await backend.publish(b"1", ["ok0"])
        await backend.publish(b"1", ["ok53"])
        async with aclosing(backend.stream_events()) as stream:
            assert await take(stream, 2) == [("ok0", b"1"), ("ok53", b"1")]
        await still_works(backend)
        await backend.on_shutdown()
        await client.aclose()
        server.command("ACL", "DELUSER", "limited")

    async def test_a_user_limited_to_the_prefix_can_do_everything(self, server: Server) -> None:
        server.command(
            "ACL", "SETUSER", "app", "reset", "on", ">pw", "~APP*", "resetchannels", "&APP*", "+@connection", "+@pubsub",
            "+evalsha", "+eval", "+script|load", "+info", "+@stream", "+@keyspace", "+set", "+get",
        )  # fmt: skip
        client = make_client(server, username="app", password="pw")
        for backend in (
            RedisChannelsStreamBackend(10, redis=client, key_prefix="APP"),
            RedisChannelsPubSubBackend(redis=client, key_prefix="APP"),
        ):
            await backend.on_startup()
            await backend.subscribe(["other", "room"])
            await backend.publish(b"1", ["room", "other"])
            async with aclosing(backend.stream_events()) as stream:
                assert await take(stream, 2) == [("room", b"1"), ("other", b"1")]
            if isinstance(backend, RedisChannelsStreamBackend):
                assert await backend.get_history("room") == [b"1"]
                assert len(await backend.read("room", after=await backend.position("room"))) == 0
                assert await backend.flush_all() == 2
            await backend.on_shutdown()
        await client.aclose()
        server.command("ACL", "DELUSER", "app")

    async def test_a_server_that_is_too_old(
        self, make_backend: MakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Every server that can be had today is new enough, so the bound is raised instead.
        monkeypatch.setattr("gapless._redis.errors.MINIMUM_VERSION", (99, 1))
        backend = make_backend()
        for call in (backend.on_startup, lambda: backend.publish(b"1", ["room"])):
            with pytest.raises(UnsupportedServer, match=r"gapless needs 99\.1 or later"):
                await asyncio.wait_for(call(), 2)

    async def test_a_database_that_does_not_exist(self, server: Server, make_backend: MakeBackend) -> None:
        client = make_client(server, db=9999)
        backend = make_backend(redis=client)
        with pytest.raises(BackendError, match="refused the connection"):
            await backend.on_startup()
        await client.aclose()

    async def test_a_server_that_is_not_there(self, make_backend: MakeBackend) -> None:
        client = importlib.import_module(f"{CLIENT}.asyncio").from_url("redis://127.0.0.1:1")
        backend = make_backend(redis=client, publish_timeout=0.2, subscribe_timeout=0.2)
        await asyncio.wait_for(backend.on_startup(), 2)
        await asyncio.wait_for(backend.subscribe(["room"]), 2)
        with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:1: no connection") as caught:
            await asyncio.wait_for(backend.publish(b"1", ["room"]), 2)
        assert caught.value.attempts > 0
        assert caught.value.since is not None
        await client.aclose()


async def works(backend: Any) -> bool:
    try:
        await backend.publish(b"1", ["x"])
    except BackendError:
        return False
    return True
