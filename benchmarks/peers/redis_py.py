"""redis-py alone: what its documentation shows for Pub/Sub and for streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from benchmarks.peers import MOST_CONNECTIONS, UNTRIMMED

# XREAD returns after so long if there is nothing.
BLOCK_MS = 1000


class PubSub:
    """PUBLISH, and `listen()`."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.pubsub = client.pubsub(ignore_subscribe_messages=True)

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        for channel in channels:
            await self._client.publish(channel, data)

    async def subscribe(self, channels: Iterable[str]) -> None:
        await self.pubsub.subscribe(*channels)

    def stream_events(self) -> AsyncIterator[Any]:
        return self.pubsub.listen()


class Streams:
    """XADD, and XREAD from where the last one has ended."""

    def __init__(self, client: Any, keep: int) -> None:
        self._client = client
        self._keep = keep
        self._last: dict[Any, Any] = {}

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        for channel in channels:
            await self._client.xadd(channel, {"data": data}, maxlen=self._keep, approximate=True)

    async def subscribe(self, channels: Iterable[str]) -> None:
        # Nothing is there yet. "$" would lose what comes between two reads.
        self._last |= {channel.encode(): "0" for channel in channels}

    async def stream_events(self) -> AsyncIterator[dict[bytes, bytes]]:
        while True:
            for channel, entries in await self._client.xread(self._last, block=BLOCK_MS):
                for entry_id, fields in entries:
                    self._last[channel] = entry_id
                    yield fields


@asynccontextmanager
async def open_backend(kind: str, port: int, keep: int | None) -> AsyncIterator[PubSub | Streams]:
    # protocol=2: replies have one form in all releases.
    async with Redis(host="127.0.0.1", port=port, protocol=2, max_connections=MOST_CONNECTIONS) as client:
        if kind == "streams":
            yield Streams(client, UNTRIMMED if keep is None else keep)
            return
        backend = PubSub(client)
        try:
            yield backend
        finally:
            await backend.pubsub.aclose()


def data_of(item: dict[Any, bytes]) -> bytes:
    return item["data"] if "data" in item else item[b"data"]
