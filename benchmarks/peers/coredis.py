"""coredis: one connection is shared by concurrent commands, and Pub/Sub has one of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from coredis import Redis


class PubSub:
    """PUBLISH, and `async for` over a `PubSub`."""

    def __init__(self, client: Redis[bytes], pubsub: Any) -> None:
        self._client = client
        self._pubsub = pubsub

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        for channel in channels:
            await self._client.publish(channel, data)

    async def subscribe(self, channels: Iterable[str]) -> None:
        await self._pubsub.subscribe(*channels)

    def stream_events(self) -> AsyncIterator[Any]:
        return aiter(self._pubsub)


@asynccontextmanager
async def open_backend(kind: str, port: int, keep: int | None) -> AsyncIterator[PubSub]:  # noqa: ARG001
    async with (
        Redis(host="127.0.0.1", port=port) as client,
        # Many channels may take more than its default of a second.
        client.pubsub(ignore_subscribe_messages=True, subscription_timeout=30) as pubsub,
    ):
        yield PubSub(client, pubsub)


def data_of(item: Any) -> bytes:
    data: bytes = item["data"]
    return data
