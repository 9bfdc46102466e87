"""Each fault of the proxy, as a plain socket sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gapless.testing.faults import Connection, Proxy, Server
from gapless.testing.faults.resp import pack
from tests.conftest import make_client
from tests.support.waiting import until

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


@asynccontextmanager
async def line(proxy: Proxy) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield reader, writer
    writer.transport.abort()


async def ask(connection: Line, *words: str | bytes) -> bytes:
    """Return the first line of the reply; empty if the connection is closed."""
    reader, writer = connection
    writer.write(pack(words))
    try:
        return await asyncio.wait_for(reader.readline(), 10)
    except ConnectionError:
        return b""


async def is_silent(reading: asyncio.Future[bytes]) -> bool:
    done, _ = await asyncio.wait({reading}, timeout=0.15)
    return not done


async def test_it_forwards(proxy: Proxy) -> None:
    async with line(proxy) as one, line(proxy) as other:
        assert await ask(one, "SET", "key", b"x" * 1_000_000) == b"+OK\r\n"
        other[1].write(pack(("GET", "key")))
        assert await other[0].readexactly(10 + 1_000_000 + 2) == b"$1000000\r\n" + b"x" * 1_000_000 + b"\r\n"
        assert proxy.accepted == 2
        assert proxy.forwarded_bytes > 2_000_000
    await until(lambda: not proxy.connections, "both to be closed")
    assert proxy.forwarded_bytes > 2_000_000


async def test_cut(proxy: Proxy) -> None:
    async with line(proxy) as one, line(proxy) as other:
        for connection in (one, other):
            await ask(connection, "PING")
        await ask(other, "SUBSCRIBE", "room")
        proxy.cut(lambda connection: "SUBSCRIBE" in connection.commands)
        await until(lambda: len(proxy.connections) == 1, "the cut")
        assert await ask(one, "PING") == b"+PONG\r\n"
        proxy.cut()
        assert await ask(one, "PING") == b""


async def test_the_server_closes_and_the_client_hears_of_it(proxy: Proxy, server: Server) -> None:
    async with line(proxy) as one:
        await ask(one, "PING")
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert await one[0].read() == b""


async def test_refuse(proxy: Proxy) -> None:
    async with line(proxy) as before:
        await ask(before, "PING")
        proxy.refusing = True
        async with line(proxy) as refused:
            assert await ask(refused, "PING") == b""
        assert await ask(before, "PING") == b"+PONG\r\n"
        proxy.refusing = False
        async with line(proxy) as after:
            assert await ask(after, "PING") == b"+PONG\r\n"


async def test_nobody_listens_behind_it(server: Server) -> None:
    with Server(server.binary) as gone:
        port = gone.port
    async with Proxy(port) as proxy:
        async with line(proxy) as one:
            assert await ask(one, "PING") == b""
        proxy.target_port = server.port
        async with line(proxy) as one:
            assert await ask(one, "PING") == b"+PONG\r\n"


@pytest.mark.parametrize("scope", ["proxy", "connection"])
async def test_stall_towards_the_server(proxy: Proxy, server: Server, scope: str) -> None:
    async with line(proxy) as one:
        await ask(one, "PING")
        flow = (proxy if scope == "proxy" else proxy.connections[0]).to_server
        flow.stall()
        assert flow.stalled
        reply = asyncio.ensure_future(ask(one, "SET", "key", "1"))
        assert await is_silent(reply)
        assert server.command("EXISTS", "key") == 0
        flow.flow()
        assert await reply == b"+OK\r\n"


@pytest.mark.parametrize("scope", ["proxy", "connection"])
async def test_stall_towards_the_client(proxy: Proxy, server: Server, scope: str) -> None:
    async with line(proxy) as one:
        await ask(one, "PING")
        flow = (proxy if scope == "proxy" else proxy.connections[0]).to_client
        flow.stall()
        reply = asyncio.ensure_future(ask(one, "SET", "key", "1"))
        await until(lambda: server.command("EXISTS", "key"), "the server to execute it")
        assert await is_silent(reply)
        flow.flow()
        assert await reply == b"+OK\r\n"


async def test_a_stalled_connection_can_be_cut(proxy: Proxy) -> None:
    async with line(proxy) as one:
        await ask(one, "PING")
        proxy.stall()
        reply = asyncio.ensure_future(ask(one, "PING"))
        assert await is_silent(reply)
        proxy.cut()
        assert await reply == b""
        proxy.flow()


async def test_a_half_open_port_accepts_and_is_silent(proxy: Proxy, server: Server) -> None:
    proxy.half_open = True
    async with line(proxy) as one:
        reply = asyncio.ensure_future(ask(one, "SET", "key", "1"))
        assert await is_silent(reply)
        assert server.command("EXISTS", "key") == 0
        proxy.heal()
        assert await reply == b""
    async with line(proxy) as one:
        assert await ask(one, "PING") == b"+PONG\r\n"


async def test_a_silent_connection_is_dead_and_nobody_is_told(proxy: Proxy, server: Server) -> None:
    def clients() -> int:
        return int(server.command("CLIENT", "LIST", "TYPE", "pubsub").count(b"\n"))

    async with line(proxy) as one, line(proxy) as other:
        await ask(one, "SUBSCRIBE", "room")
        await ask(other, "PING")
        proxy.silence(lambda connection: connection.number == 1)
        reading = asyncio.ensure_future(one[0].readuntil(b"unheard"))
        server.command("PUBLISH", "room", "unheard")
        assert await is_silent(reading)
        # The server closes, and the client does not hear of it.
        server.command("CLIENT", "KILL", "TYPE", "pubsub")
        assert await is_silent(reading)
        assert await ask(other, "SUBSCRIBE", "room")
        # The client goes, and the server does not hear of it.
        proxy.silence()
        other[1].transport.abort()
        assert clients() == 1
        proxy.heal()
        await until(lambda: clients() == 0, "the dead connections to be cut")
        with pytest.raises(asyncio.IncompleteReadError):
            await reading


async def test_exactly_one_reply_is_dropped(proxy: Proxy, server: Server) -> None:
    async with line(proxy) as (reader, writer):
        await ask((reader, writer), "SET", "key", b"+x\r\n" * 100_000)
        proxy.connections[0].drop_next_reply()
        # Three replies, of which the first comes in several chunks.
        writer.write(pack(("GET", "key")) + pack(("ECHO", "second")) + pack(("ECHO", "third")))
        assert await reader.readexactly(23) == b"$6\r\nsecond\r\n$5\r\nthird\r\n"
        writer.write(pack(("ECHO", "fourth")))
        assert await reader.readexactly(12) == b"$6\r\nfourth\r\n"


async def test_one_pushed_message_is_dropped(proxy: Proxy, server: Server) -> None:
    client = make_client(server)
    client.connection_pool.connection_kwargs["port"] = proxy.port
    async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe("room")

        async def heard() -> Any:
            return await pubsub.get_message(timeout=0.01)

        def subscribers(connection: Connection) -> bool:
            return "SUBSCRIBE" in connection.commands

        await until(lambda: server.command("PUBSUB", "NUMSUB", "room")[1] == 1, "the subscription")
        assert await pubsub.get_message(timeout=1) is None  # the confirmation
        proxy.drop_next_reply(subscribers)
        for text in ("1", "2", "3"):
            server.command("PUBLISH", "room", text)
        messages = [await until(heard) for _ in range(2)]
        assert [message["data"] for message in messages] in (["2", "3"], [b"2", b"3"])
    await client.aclose()


async def test_a_dropped_reply_can_take_the_connection_with_it(proxy: Proxy, server: Server) -> None:
    async with line(proxy) as (reader, writer):
        await ask((reader, writer), "PING")
        proxy.drop_next_reply(then_cut=True)
        assert await ask((reader, writer), "SET", "key", "1") == b""
        assert server.command("EXISTS", "key") == 1


async def test_bytes_can_be_discarded(proxy: Proxy, server: Server) -> None:
    async with line(proxy) as one:
        await ask(one, "PING")
        proxy.to_client.discarding = True
        reply = asyncio.ensure_future(ask(one, "SET", "key", "1"))
        await until(lambda: server.command("EXISTS", "key"), "the server to execute it")
        assert await is_silent(reply)
        proxy.to_client.discarding = False
        one[1].write(pack(("ECHO", "next")))
        assert await reply == b"$4\r\n"


async def test_what_is_not_the_protocol_is_forwarded_and_has_no_replies() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    peer = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Proxy(peer.sockets[0].getsockname()[1]) as proxy, line(proxy) as (reader, writer):
        garbage = b"$!\r\n" + bytes(range(256))
        writer.write(garbage)
        assert await reader.readexactly(len(garbage)) == garbage
        with pytest.raises(RuntimeError, match="TLS"):
            proxy.drop_next_reply()
    peer.close()
    await peer.wait_closed()


async def test_delay(proxy: Proxy) -> None:
    async with line(proxy) as one, line(proxy) as other:
        await ask(one, "PING")
        await ask(other, "PING")
        proxy.connections[0].to_client.delay_seconds = 0.3
        started = time.monotonic()
        assert await ask(other, "PING") == b"+PONG\r\n"
        quick = time.monotonic() - started
        assert await ask(one, "PING") == b"+PONG\r\n"
        assert time.monotonic() - started - quick >= 0.3


async def test_throttle(proxy: Proxy) -> None:
    async with line(proxy) as (reader, writer):
        proxy.to_client.bytes_per_second = 100_000
        started = time.monotonic()
        writer.write(pack(("ECHO", b"x" * 50_000)))
        await reader.readexactly(50_000)
        assert time.monotonic() - started >= 0.4
        proxy.to_client.bytes_per_second = None


async def test_a_proxy_that_does_not_run_has_no_port() -> None:
    proxy = Proxy(1)
    with pytest.raises(RuntimeError, match="async with"):
        _ = proxy.port
    await proxy.stop()
