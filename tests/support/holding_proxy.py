"""A TCP proxy that holds commands back, so that they reach the server after their connection is lost.

For everything else there is `gapless.testing.faults.Proxy`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Self


class HoldingProxy:
    """Forwards a loopback port to another; cuts, stalls and refuses connections.

    Attributes:
        target_port: Where new connections are forwarded to.
        accepted: Connections accepted so far.
        stalled: While true, nothing is forwarded in either direction, and nothing is closed.
        refusing: While true, new connections are closed at once.
        swallow_replies: Bytes from the server are read and thrown away.
        swallow_commands: Bytes for the server are read and thrown away.
        holding: Bytes for the server are kept, and reach it at `release()`, though the client be cut off.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.accepted = 0
        self.refusing = False
        self.swallow_replies = False
        self.swallow_commands = False
        self.swallowed_bytes = 0
        self.holding = False
        self.held: list[tuple[asyncio.StreamWriter, bytes]] = []
        self.forwarded_bytes = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def stall(self) -> None:
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        """Close every connection, but for the server's side of those for which something is held."""
        for writer in list(self._writers):
            if not self._holds(writer):
                writer.transport.abort()

    def release(self) -> None:
        """Let the server have what was held for it."""
        for writer, data in self.held:
            writer.write(data)

    def _holds(self, writer: asyncio.StreamWriter) -> bool:
        return any(held is writer for held, _ in self.held)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.flow()
        self.cut()
        for writer, _ in self.held:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            if self.refusing:
                return
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._writers |= {writer, up_writer}
            pumps = [
                asyncio.ensure_future(self._pump(reader, up_writer, reply=False)),
                asyncio.ensure_future(self._pump(up_reader, writer, reply=True)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                self._writers -= {writer, up_writer}
                if not self._holds(up_writer):
                    up_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # cancelled by __aexit__ alone; asyncio logs a server's task that ends cancelled
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, reply: bool) -> None:
        while data := await reader.read(65536):
            await self._flowing.wait()
            if self.swallow_replies if reply else self.swallow_commands or self.holding:
                self.swallowed_bytes += len(data)
                if self.holding and not reply:
                    self.held.append((writer, data))
                continue
            self.forwarded_bytes += len(data)
            writer.write(data)
            await writer.drain()
