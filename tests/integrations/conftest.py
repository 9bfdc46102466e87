"""Plugins on the backends under test, and a real web server.

GAPLESS_TEST_PLUGIN=litestar runs the tests against Litestar's own plugin (some of them hang there: run them
one by one).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import litestar.channels
import pytest
import uvicorn

from gapless import MemoryChannelsBackend, RedisChannelsPubSubBackend, RedisChannelsStreamBackend
from gapless.integrations.litestar import ChannelsPlugin
from tests.conftest import make_client

MakePlugin = Callable[..., Any]


def plugin_class() -> Any:
    """Return the class under test: ours, or Litestar's to show that a test fails with it."""
    theirs = os.environ.get("GAPLESS_TEST_PLUGIN") == "litestar"
    return litestar.channels.ChannelsPlugin if theirs else ChannelsPlugin


@pytest.fixture(params=["memory", "streams"])
def which(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def make_plugin(which: str, request: pytest.FixtureRequest) -> AsyncIterator[MakePlugin]:
    """Makes plugins on the backend under test, to be entered; arguments of the backend in `backend`."""
    clients: list[Any] = []

    def make(backend: dict[str, Any] | None = None, **options: Any) -> Any:
        arguments = backend or {}
        if not {"channels", "arbitrary_channels_allowed"} & options.keys():
            options["arbitrary_channels_allowed"] = True
        if which == "memory":
            return plugin_class()(MemoryChannelsBackend(**{"history": 100} | arguments), **options)
        clients.append(make_client(request.getfixturevalue("server")))
        if which == "pubsub":
            return plugin_class()(RedisChannelsPubSubBackend(redis=clients[-1], **arguments), **options)
        made = RedisChannelsStreamBackend(redis=clients[-1], **{"history": 100} | arguments)
        return plugin_class()(made, **options)

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def plugin(make_plugin: MakePlugin) -> AsyncIterator[Any]:
    plugin = make_plugin()
    async with plugin:
        yield plugin


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an application in this event loop; yield its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, lifespan="on", log_level="warning", ws="websockets-sansio", timeout_graceful_shutdown=3
    )
    server = uvicorn.Server(config)
    # Not serve(): it takes over the signals of the process.
    task = asyncio.create_task(server._serve([listener]))
    try:
        async with asyncio.timeout(15):
            while not server.started and not task.done():
                await asyncio.sleep(0.005)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 15)
        listener.close()
