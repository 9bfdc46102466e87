"""Plugins on the backends under test.

GAPLESS_TEST_PLUGIN=litestar runs the tests against Litestar's own plugin (some of them hang there: run them
one by one).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import litestar.channels
import pytest

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
