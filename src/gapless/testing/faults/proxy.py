"""A TCP proxy that misbehaves on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from gapless.testing.faults.connection import Connection, Flow


def _every(connection: Connection) -> bool:  # noqa: ARG001 (a predicate)
    return True


class Proxy:
    """Forwards a loopback port to another; cuts, stalls, delays, silences and refuses connections.

        async with Proxy(server.port) as proxy:
            client = Redis(port=proxy.port)
            ...
            proxy.cut()

    What is set here holds for every connection, also for later ones; what is set on one of `connections`
    holds for that one. Methods that take `where` act on the open connections that the predicate picks:
    `proxy.cut(lambda connection: "SUBSCRIBE" in connection.commands)`.

    Use it in one event loop: it forwards nothing while that loop is blocked.

    Attributes:
        target_port: Where new connections lead; change it for a failover.
        target_host: Default 127.0.0.1.
        accepted: Connections accepted so far.
        connections: Those that are open, in the order of their coming.
        refusing: New connections are closed at once.
        half_open: New connections are accepted, and then nothing is forwarded and nothing closed.
        to_server: The direction from the clients to the server.
        to_client: The other direction.
    """

    def __init__(self, target_port: int, *, target_host: str = "127.0.0.1") -> None:
        self.target_port = target_port
        self.target_host = target_host
        self.accepted = 0
        self.connections: list[Connection] = []
        self.refusing = False
        self.half_open = False
        self.to_server = Flow()
        self.to_client = Flow()
        self._closed_bytes = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def port(self) -> int:
        """The port to connect to; a free one, of 127.0.0.1.

        Raises:
            RuntimeError: It does not run: use `async with`, or `start()`.
        """
        if self._server is None:
            raise RuntimeError("the proxy is not running: async with Proxy(port) as proxy")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def forwarded_bytes(self) -> int:
        """Bytes forwarded so far, in both directions."""
        return self._closed_bytes + sum(connection.forwarded_bytes for connection in self.connections)

    def cut(self, where: Callable[[Connection], bool] = _every) -> None:
        """Close connections at once; what has not been forwarded is lost."""
        for connection in filter(where, list(self.connections)):
            connection.cut()

    def stall(self) -> None:
        """Forward nothing in either direction until `flow()`. For one direction: `to_server.stall()`."""
        self.to_server.stall()
        self.to_client.stall()

    def flow(self) -> None:
        """End `stall()`."""
        self.to_server.flow()
        self.to_client.flow()

    def silence(self, where: Callable[[Connection], bool] = _every) -> None:
        """Let connections die without a FIN, for good. With `half_open`, new ones are dead from the start."""
        for connection in filter(where, self.connections):
            connection.silence()

    def drop_next_reply(
        self, where: Callable[[Connection], bool] = _every, *, then_cut: bool = False
    ) -> None:
        """Swallow the next reply of each connection; see `Connection.drop_next_reply()`."""
        for connection in filter(where, self.connections):
            connection.drop_next_reply(then_cut=then_cut)

    def heal(self) -> None:
        """Forward as a network should: take back what is set, and cut the connections that are dead."""
        self.refusing = self.half_open = False
        for flow in (self.to_server, self.to_client):
            flow.heal()
        for connection in self.connections:
            connection.heal()
        self.cut(lambda connection: connection.silent)

    async def start(self) -> None:
        """Listen; `async with` does it."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Close the port and every connection; `async with` does it."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self.heal()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        connection = Connection(self.accepted, writer)
        try:
            # Cancelled by stop() alone; asyncio would log a server's task that ends cancelled.
            with suppress(OSError, asyncio.CancelledError):
                if not self.refusing:
                    self.connections.append(connection)
                    await self._carry(connection, reader)
        finally:
            connection.cut()
            if connection in self.connections:
                self.connections.remove(connection)
            self._closed_bytes += connection.forwarded_bytes
            self._tasks.discard(task)

    async def _carry(self, connection: Connection, reader: asyncio.StreamReader) -> None:
        if self.half_open:
            connection.silence()
            await connection.ended()
            return
        upstream = await asyncio.open_connection(self.target_host, self.target_port)
        await connection.forward(reader, upstream, self.to_server, self.to_client)
