"""A hub on each backend that has a history."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gapless import Channels, MemoryChannelsBackend, RedisChannelsStreamBackend
from tests.conftest import make_client

MakeHub = Callable[..., Channels]


@pytest.fixture(params=["memory", "streams"])
async def make_hub(request: pytest.FixtureRequest) -> AsyncIterator[MakeHub]:
    """Makes hubs of the backend under test, to be entered; arguments of the backend in `backend`."""
    clients: list[Any] = []

    def make(backend: dict[str, Any] | None = None, **options: Any) -> Channels:
        arguments = {"history": 100} | (backend or {})
        if request.param == "memory":
            return Channels(MemoryChannelsBackend(**arguments), **options)
        clients.append(make_client(request.getfixturevalue("server")))
        return Channels(RedisChannelsStreamBackend(redis=clients[-1], **arguments), **options)

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def hub(make_hub: MakeHub) -> AsyncIterator[Channels]:
    async with make_hub() as hub:
        yield hub
