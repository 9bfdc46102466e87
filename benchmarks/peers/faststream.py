"""FastStream's Redis broker: a subscriber, which has a task and a connection, calls a function for each message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from faststream.redis import RedisBroker, StreamSub

from benchmarks.peers import MOST_CONNECTIONS


class Broker:
    """The function puts what it gets into a queue, which costs little beside it."""

    def __init__(self, kind: str, broker: RedisBroker) -> None:
        self._kind = kind
        self._broker = broker
        self._events: asyncio.Queue[bytes] = asyncio.Queue()

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        for channel in channels:
            if self._kind == "pubsub":
                await self._broker.publish(data, channel=channel)
            else:
                await self._broker.publish(data, stream=channel)

    async def subscribe(self, channels: Iterable[str]) -> None:
        async def handle(data: bytes) -> None:
            self._events.put_nowait(data)

        for channel in channels:
            # Not its default, "$": until the first event, it would lose what comes between two reads.
            stream = StreamSub(channel, last_id="0") if self._kind == "streams" else None
            subscriber = self._broker.subscriber(None if stream else channel, stream=stream)
            subscriber(handle)
            await subscriber.start()

    async def stream_events(self) -> AsyncIterator[bytes]:
        while True:
            yield await self._events.get()


@asynccontextmanager
async def open_backend(kind: str, port: int, keep: int | None) -> AsyncIterator[Broker]:  # noqa: ARG001
    # Without a line in the log for each message.
    async with RedisBroker(
        f"redis://127.0.0.1:{port}?max_connections={MOST_CONNECTIONS}", logger=None
    ) as broker:
        await broker.start()
        yield Broker(kind, broker)


def data_of(item: bytes) -> bytes:
    return item
