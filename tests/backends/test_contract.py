"""All backends pass the shipped contract suite, on both ways to the socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gapless import MemoryChannelsBackend, RedisChannelsPubSubBackend, RedisChannelsStreamBackend
from gapless.testing import BackendContract
from tests.conftest import make_client
from tests.support.servers import Server


class TestMemory(BackendContract):
    @asynccontextmanager
    async def open_backend(self) -> AsyncIterator[MemoryChannelsBackend]:
        yield MemoryChannelsBackend(history=10)


class OnServer(BackendContract):
    @pytest.fixture(autouse=True)
    def _server(self, server: Server, wire: str) -> None:
        self.server = server

    def make(self, client: Any) -> Any:
        raise NotImplementedError

    @asynccontextmanager
    async def open_backend(self) -> AsyncIterator[Any]:
        client = make_client(self.server)
        yield self.make(client)
        await client.aclose()


class TestPubSub(OnServer):
    keeps_history = False

    def make(self, client: Any) -> Any:
        return RedisChannelsPubSubBackend(redis=client)


class TestStreams(OnServer):
    def make(self, client: Any) -> Any:
        return RedisChannelsStreamBackend(10, redis=client, cap_streams_approximate=False)


class TestStreamsApproximate(OnServer):
    """With MAXLEN ~ the server keeps more than was asked for: get_history hides it."""

    def make(self, client: Any) -> Any:
        return RedisChannelsStreamBackend(10, redis=client)

    # More than `history` is kept, so nothing is trimmed as soon as that test expects.
    test_reading_on_from_an_id = None  # type: ignore[assignment]
