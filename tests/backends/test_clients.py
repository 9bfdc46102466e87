"""However the user's client reaches its server: unix socket, TLS, password, database, Sentinel."""

from __future__ import annotations

import asyncio
import importlib
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import trustme

from gapless import RedisChannelsPubSubBackend, RedisChannelsStreamBackend
from tests.conftest import CLIENT, CLIENT_OPTIONS, server_binary
from tests.support.servers import Server, binaries, free_port
from tests.support.waiting import take, until

pytestmark = pytest.mark.usefixtures("wire")

library = importlib.import_module(f"{CLIENT}.asyncio")
Client: Any = library.Redis if CLIENT == "redis" else library.Valkey


async def check(client: Any) -> None:
    """Both backends deliver, survive a kill, and shut down."""
    backends: list[Any] = [
        RedisChannelsPubSubBackend(redis=client),
        RedisChannelsStreamBackend(10, redis=client),
    ]
    for backend in backends:
        await backend.on_startup()
        await backend.subscribe(["room", "other"])
        await backend.publish(b"1", ["room"])
        await asyncio.gather(*(backend.publish(b"2", ["room", "other"]) for _ in range(3)))
        async with aclosing(backend.stream_events()) as stream:
            assert await take(stream, 7) == [("room", b"1"), *[("room", b"2"), ("other", b"2")] * 3]
        session = backend._enter().session
        generation = session.pushes.link.generation
        await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: session.pushes.link.generation > generation, "the reconnect")
        await until(lambda: len(session.subscriptions.live) == 2, "the resubscription")
        await backend.publish(b"3", ["other"])
        async with aclosing(backend.stream_events()) as stream:
            assert await take(stream, 1) == [("other", b"3")]
        await backend.on_shutdown()
    await client.aclose()


async def test_unix_socket(server: Server) -> None:
    await check(Client(unix_socket_path=str(server.unix_socket), **CLIENT_OPTIONS))


async def test_url_with_database_and_client_name(server: Server) -> None:
    await check(Client.from_url(f"redis://127.0.0.1:{server.port}/3?client_name=app", **CLIENT_OPTIONS))


async def test_single_connection_client(server: Server) -> None:
    await check(Client(port=server.port, single_connection_client=True, **CLIENT_OPTIONS))


async def test_a_blocking_pool_of_one_connection(server: Server) -> None:
    options = {name: value for name, value in CLIENT_OPTIONS.items() if name != "max_connections"}
    pool = library.BlockingConnectionPool(host="127.0.0.1", port=server.port, max_connections=1, **options)
    await check(Client(connection_pool=pool))
    await pool.disconnect()


async def test_password() -> None:
    with Server(server_binary(), "--requirepass", "secret") as server:
        await check(Client(port=server.port, password="secret", **CLIENT_OPTIONS))


async def test_sentinel() -> None:
    with Server(server_binary()) as primary:
        sentinel = Server(primary.binary, "--sentinel", port=free_port())
        configuration = sentinel.folder / "sentinel.conf"
        configuration.write_text(
            f"port {sentinel.port}\nbind 127.0.0.1\ndir {sentinel.folder}\n"
            f"unixsocket {sentinel.unix_socket}\n"
            f"sentinel monitor main 127.0.0.1 {primary.port} 1\n"
        )
        sentinel.start_with(str(configuration), "--sentinel")
        try:
            module = importlib.import_module(f"{CLIENT}.asyncio.sentinel")
            finder = module.Sentinel([("127.0.0.1", sentinel.port)], **CLIENT_OPTIONS)
            await until(lambda: b"master" in sentinel.command("SENTINEL", "MASTER", "main")[9:10], "sentinel")
            await check(finder.master_for("main", **CLIENT_OPTIONS))
            for sentinel_client in finder.sentinels:
                await sentinel_client.aclose()
        finally:
            sentinel.stop()


def tls_binary(folder: Path) -> Path | None:
    """Return a server that speaks TLS: those from pip are built without it."""
    for binary in binaries().values():
        try:
            with Server(binary, *tls_options(folder, free_port())):
                return binary
        except RuntimeError:
            continue
    return None


def tls_options(folder: Path, port: int) -> list[str]:
    return [
        "--tls-port", str(port), "--tls-cert-file", str(folder / "cert.pem"),
        "--tls-key-file", str(folder / "key.pem"), "--tls-ca-cert-file", str(folder / "ca.pem"),
        "--tls-auth-clients", "no",
    ]  # fmt: skip


async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    binary = tls_binary(tmp_path)
    if binary is None:
        pytest.skip("no server with TLS here: install Debian's redis-server")
    port = free_port()
    with Server(binary, *tls_options(tmp_path, port)):
        await check(
            Client(
                host="localhost",
                port=port,
                ssl=True,
                ssl_ca_certs=str(tmp_path / "ca.pem"),
                **CLIENT_OPTIONS,
            )
        )
