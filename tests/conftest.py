"""Servers, clients and backends for all tests.

The pair under test is chosen by environment variables: GAPLESS_TEST_SERVER (a name of
`support.servers.binaries()`, default: the first found), GAPLESS_TEST_CLIENT ("redis" or "valkey"),
GAPLESS_TEST_CLIENT_OPTIONS (keywords for the client as JSON), GAPLESS_TEST_UVLOOP=1.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from gapless import RedisChannelsPubSubBackend, RedisChannelsStreamBackend
from tests.support.servers import Server, binaries

CLIENT = os.environ.get("GAPLESS_TEST_CLIENT", "redis")
CLIENT_OPTIONS: dict[str, Any] = json.loads(os.environ.get("GAPLESS_TEST_CLIENT_OPTIONS", "{}"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells start background jobs so, and programs that tests start and interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if os.environ.get("GAPLESS_TEST_UVLOOP"):
    import uvloop

    # For those tests that call asyncio.run() themselves; the hook is for the others.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

    def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
        return {"uvloop": uvloop.new_event_loop}


def server_binary() -> Any:
    found = binaries()
    wanted = os.environ.get("GAPLESS_TEST_SERVER")
    if wanted and wanted not in found:
        pytest.exit(f"GAPLESS_TEST_SERVER={wanted} is not on this machine; found: {', '.join(found)}", 4)
    return found[wanted] if wanted else next(iter(found.values()))


def make_client(server: Server, **options: Any) -> Any:
    """Return an asyncio client of the library under test."""
    library = importlib.import_module(f"{CLIENT}.asyncio")
    client_class = library.Redis if CLIENT == "redis" else library.Valkey
    return client_class(host="127.0.0.1", port=server.port, **CLIENT_OPTIONS | options)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """A server that tests must leave alive."""
    with Server(server_binary()) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The shared server, empty."""
    shared_server.command("FLUSHALL")
    yield shared_server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server of this test's own, to be killed and paused."""
    with Server(server_binary()) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Any]:
    """A client of the library under test; close it never, the fixture does."""
    client = make_client(server)
    yield client
    await client.aclose()


@pytest.fixture(params=["takeover", "public"])
def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to the socket: the transport taken over, and the client's public methods."""
    if request.param == "public":
        monkeypatch.setattr("gapless._redis.wire._transport_of", lambda connection: None)
    return str(request.param)


@pytest.fixture(params=["pubsub", "streams"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def backend_class(kind: str) -> Any:
    """Return the backend class of a kind: ours, or Litestar's to show that a test fails on it."""
    package = "litestar.channels" if os.environ.get("GAPLESS_TEST_BACKENDS") == "litestar" else "gapless"
    module = importlib.import_module(f"{package}.backends.redis")
    return module.RedisChannelsPubSubBackend if kind == "pubsub" else module.RedisChannelsStreamBackend


MakeBackend = Callable[..., Any]


@pytest.fixture
async def make_backend(kind: str, client: Any) -> AsyncIterator[MakeBackend]:
    """Makes backends of the kind under test; shuts all of them down."""
    made: list[Any] = []

    def make(**options: Any) -> Any:
        options.setdefault("redis", client)
        if kind == "streams":
            options.setdefault("history", 100)
        backend = backend_class(kind)(**options)
        made.append(backend)
        return backend

    yield make
    for backend in made:
        await backend.on_shutdown()


@pytest.fixture
async def backend(make_backend: MakeBackend) -> Any:
    return make_backend()


@pytest.fixture
async def streams(client: Any) -> AsyncIterator[RedisChannelsStreamBackend]:
    backend = RedisChannelsStreamBackend(100, redis=client)
    yield backend
    await backend.on_shutdown()


@pytest.fixture
async def pubsub(client: Any) -> AsyncIterator[RedisChannelsPubSubBackend]:
    backend = RedisChannelsPubSubBackend(redis=client)
    yield backend
    await backend.on_shutdown()
