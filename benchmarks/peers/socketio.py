"""python-socketio with its Redis manager: every event goes to every process, which looks for the room's clients.

An event has arrived when the server has encoded the packet for its client, and would write it to the socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from socketio import AsyncRedisManager, AsyncServer

from benchmarks.peers import MOST_CONNECTIONS

NAMESPACE = "/"
EVENT = "event"
BEFORE_DATA = len(f'2["{EVENT}","')
AFTER_DATA = len('"]')


class Server:
    """A server with one client, who enters the rooms."""

    def __init__(self, url: str) -> None:
        self._publisher = AsyncRedisManager(url, write_only=True)
        self._manager = AsyncRedisManager(url)
        self._server = AsyncServer(client_manager=self._manager, async_mode="asgi")
        self._packets: asyncio.Queue[Any] = asyncio.Queue()
        self._server._send_eio_packet = self._send
        self._client = ""

    async def _send(self, client: str, packet: Any) -> None:  # noqa: ARG002
        self._packets.put_nowait(packet)

    async def publish(self, data: bytes, channels: Iterable[str]) -> None:
        for channel in channels:
            await self._publisher.emit(EVENT, data.decode(), room=channel)

    async def subscribe(self, channels: Iterable[str]) -> None:
        if not self._client:
            # As the server does when its first client connects.
            self._manager.initialize()
            self._client = await self._manager.pre_connect("client", NAMESPACE)
            await self._manager.connect(self._client, NAMESPACE)
        for channel in channels:
            await self._manager.enter_room(self._client, NAMESPACE, channel)

    async def stream_events(self) -> AsyncIterator[Any]:
        while True:
            yield await self._packets.get()

    async def stop(self) -> None:
        if self._client:
            self._manager.thread.cancel()
            await asyncio.gather(self._manager.thread, return_exceptions=True)
        for manager in (self._publisher, self._manager):
            if manager.redis is not None:
                await manager.redis.aclose()


@asynccontextmanager
async def open_backend(kind: str, port: int, keep: int | None) -> AsyncIterator[Server]:  # noqa: ARG001
    server = Server(f"redis://127.0.0.1:{port}?max_connections={MOST_CONNECTIONS}")
    yield server
    await server.stop()


def data_of(item: Any) -> bytes:
    text: str = item.data
    return text[BEFORE_DATA:-AFTER_DATA].encode()
