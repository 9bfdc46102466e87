"""broadcaster, as in its README: a queue for each subscriber of a channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from broadcaster import Broadcast

from benchmarks.peers import MOST_CONNECTIONS

SCHEMES = {"pubsub": "redis", "streams": "redis-stream"}


class Broadcaster:
    """One subscriber per channel; the events of the first one are taken."""

    def __init__(self, broadcast: Broadcast, stack: AsyncExitStack) -> None:
        self._broadcast = broadcast
        self._stack = stack
        self._subscribers: list[Any] = []

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        for channel in channels:
            await self._broadcast.publish(channel=channel, message=data.decode())

    async def subscribe(self, channels: Iterable[str]) -> None:
        for channel in channels:
            context = self._broadcast.subscribe(channel=channel)
            self._subscribers.append(await self._stack.enter_async_context(context))

    def stream_events(self) -> AsyncIterator[Any]:
        return aiter(self._subscribers[0])


@asynccontextmanager
async def open_backend(kind: str, port: int, keep: int | None) -> AsyncIterator[Broadcaster]:  # noqa: ARG001
    broadcast = Broadcast(f"{SCHEMES[kind]}://127.0.0.1:{port}?max_connections={MOST_CONNECTIONS}")
    await broadcast.connect()
    async with AsyncExitStack() as stack:
        backend = Broadcaster(broadcast, stack)
        if kind == "pubsub":
            # 0.3.1 with redis-py 8: nothing is heard until there is a second subscription. `subscribe()` wakes the
            # listener before it has subscribed, which then finds nothing to listen to and goes to sleep again.
            await stack.enter_async_context(broadcast.subscribe(channel="unused"))
        yield backend
        # As its disconnect(), which does not wait for the listener: that would complain of its connection. It
        # was seen to go on after one cancellation.
        listener = broadcast._listener_task
        while not listener.done():
            listener.cancel()
            await asyncio.wait({listener}, timeout=0.05)
    await broadcast._backend.disconnect()


def data_of(item: Any) -> bytes:
    message: str = item.message
    return message.encode()
