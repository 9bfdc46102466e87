"""What an event loop needs by itself to publish and receive: a protocol that writes and parses, a future per wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import hiredis

from benchmarks.peers import PREFIX
from benchmarks.raw import pack

_NOTHING = object()


class Connection(asyncio.Protocol):
    """One connection; each reply or push goes to `got`."""

    def __init__(self, got: Callable[[Any], None]) -> None:
        self._got = got
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._parts: list[bytes] = []
        self.transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def write(self, packed: bytes) -> None:
        """Send together what is written in one tick while others are under way."""
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._parts.append(packed)

    def _flush(self) -> None:
        self.transport.write(b"".join(self._parts))
        self._parts.clear()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not _NOTHING:
            self._got(reply)


class Backend:
    """Publishes, and gets what is published."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._replies: deque[asyncio.Future[None]] = deque()
        self._pushes: deque[tuple[str, bytes]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.commands = Connection(self._replied)
        self.subscriber = Connection(self._pushed)

    async def publish(self, data: bytes, channels: list[str]) -> None:
        (channel,) = channels
        future: asyncio.Future[None] = self._loop.create_future()
        packed = pack(("PUBLISH", f"{PREFIX}_{channel}", data))
        if self._replies:
            self.commands.write(packed)
        else:
            self.commands.transport.write(packed)
        self._replies.append(future)
        await future

    async def subscribe(self, channels: list[str]) -> None:
        self.subscriber.write(pack(("SUBSCRIBE", *(f"{PREFIX}_{name}" for name in channels))))

    async def stream_events(self) -> AsyncIterator[tuple[str, bytes]]:
        while True:
            while self._pushes:
                yield self._pushes.popleft()
            self._waiter = self._loop.create_future()
            await self._waiter

    def _replied(self, reply: Any) -> None:  # noqa: ARG002
        self._replies.popleft().set_result(None)

    def _pushed(self, push: Any) -> None:
        kind, name, data = push
        if kind == b"message":
            self._pushes.append((name.decode(), data))
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)


@asynccontextmanager
async def open_backend(kind: str, port: int, keep: int | None) -> AsyncIterator[Backend]:  # noqa: ARG001
    backend = Backend()
    loop = asyncio.get_running_loop()
    connections = (backend.commands, backend.subscriber)
    for connection in connections:
        await loop.create_connection(lambda made=connection: made, "127.0.0.1", port)  # type: ignore[misc]
    try:
        yield backend
    finally:
        for connection in connections:
            connection.transport.close()
