"""Django's channel layers: groups, to which a consumer adds its channel.

RedisChannelLayer ("core") keeps a sorted set of messages for each receiving process, RedisPubSubChannelLayer nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from benchmarks.peers import CHANNEL, MOST_CONNECTIONS, UNTRIMMED, Command

# It makes messages unique with so many random bytes.
UNIQUE_BYTES = 12


class Layer:
    """What a consumer does: `group_send()`, `group_add()` of its channel, and `receive()` in a loop."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._channel = ""

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        for channel in channels:
            await self._layer.group_send(channel, {"type": "event", "data": data})

    async def subscribe(self, channels: Iterable[str]) -> None:
        self._channel = self._channel or await self._layer.new_channel()
        for channel in channels:
            await self._layer.group_add(channel, self._channel)

    async def stream_events(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield await self._layer.receive(self._channel)


@asynccontextmanager
async def open_backend(kind: str, port: int, keep: int | None) -> AsyncIterator[Layer]:
    hosts = [f"redis://127.0.0.1:{port}?max_connections={MOST_CONNECTIONS}"]
    if kind == "pubsub":
        layer = RedisPubSubChannelLayer(hosts=hosts)
        yield Layer(layer)
        await layer.flush()
        return
    # Beyond its capacity, which is 100 by default, it drops messages.
    stored = RedisChannelLayer(hosts=hosts, capacity=UNTRIMMED)
    backend = Layer(stored)
    if keep is not None:
        # There is no reader, and to an empty group it would send nothing. Nobody reads this member.
        await backend.subscribe([CHANNEL])
    yield backend
    await stored.close_pools()


def data_of(item: dict[str, Any]) -> bytes:
    data: bytes = item["data"]
    return data


def again(command: Command, number: int) -> Command:
    """Return the command for another event: what is equal would be stored once."""
    return tuple(
        number.to_bytes(UNIQUE_BYTES, "big") + part[UNIQUE_BYTES:]
        if isinstance(part, bytes) and b"__asgi_channel__" in part
        else part
        for part in command
    )
