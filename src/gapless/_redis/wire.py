"""One connected socket: bytes in batches out, replies in batches in.

redis-py (or valkey-py) opens the socket, does TLS, authenticates and selects the database; then the
transport is handed to our own protocol (`asyncio.Transport.set_protocol`). From then on every reply
of a chunk is parsed and handed on in one call, without a task switch, and all commands of one loop
tick leave in one write. Where the transport can't be had, `fallback.py` does the same through the
client's public methods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import hiredis

from gapless._redis.client import disconnect
from gapless._redis.fallback import FallbackWire

Replies = list[Any]

# Read buffer, and the most that is fed to the parser at once: hiredis moves the rest of its buffer
# to the front after each kilobyte of replies, so larger chunks cost more (redis/hiredis#656).
READ_BYTES = 64 * 1024
FEED_BYTES = 16 * 1024

# Commands of one loop tick leave in one write, up to this size. What exceeds it leaves at once, so that the
# server works on it while we pack the rest: with 100 publishers that wait for each other, a write of
# everything makes client and server take turns (measured: 19 % less Pub/Sub, 28 % less Streams publishes).
FLUSH_BYTES = 8 * 1024

_INCOMPLETE = object()


class Wire(Protocol):
    """What a link needs of a connected socket."""

    closed: asyncio.Future[Exception | None]
    writable: bool
    # Set to 0 by each byte that arrives; counted up by the link's watch.
    quiet_checks: int

    def send(self, packed: bytes) -> None:
        """Queue one packed command; it leaves at the end of this loop tick, at the latest."""

    def send_now(self, packed: bytes) -> None:
        """Send one packed command at once; only while nothing is queued."""

    @property
    def unsent(self) -> int:
        """Number of queued commands of which no byte has left yet."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait for the socket to take them."""
        ...

    async def close(self, error: Exception | None = None) -> None:
        """Close now; what was not written is dropped. `closed` holds `error` afterwards."""


def open_wire(
    connection: Any,
    on_replies: Callable[[Replies], None],
    on_writable: Callable[[bool], None],
) -> Wire:
    """Take over a connected redis-py or valkey-py connection, whichever way it permits."""
    transport = _transport_of(connection)
    if transport is not None:
        return TransportWire(connection, transport, on_replies, on_writable)
    return FallbackWire(connection, on_replies, on_writable)


def _transport_of(connection: Any) -> Any | None:
    # The one private name that we touch. StreamWriter.transport and set_protocol are public asyncio.
    writer = getattr(connection, "_writer", None)
    transport = getattr(writer, "transport", None)
    if transport is None or not hasattr(transport, "set_protocol"):
        return None
    return transport


def _ignore(replies: Replies) -> None:
    """Take replies that nobody waits for any more."""


class TransportWire(asyncio.BufferedProtocol):
    """A socket whose transport is ours."""

    def __init__(
        self,
        connection: Any,
        transport: Any,
        on_replies: Callable[[Replies], None],
        on_writable: Callable[[bool], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._transport = transport
        self.send_now = transport.write
        self._on_replies = on_replies
        self._on_writable = on_writable
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._error: Exception | None = None
        self.closed = self._loop.create_future()
        self.writable = True
        self.quiet_checks = 0
        self._previous = transport.get_protocol()
        transport.set_protocol(self)

    def send(self, packed: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packed)
        self._out_bytes += len(packed)
        if self._out_bytes > FLUSH_BYTES:
            self._flush()

    @property
    def unsent(self) -> int:
        return len(self._out)

    @property
    def unsent_bytes(self) -> int:
        return self._out_bytes + int(self._transport.get_write_buffer_size())

    async def close(self, error: Exception | None = None) -> None:
        self._error = self._error or error
        # Whatever still arrives belongs to a generation that is over.
        self._on_replies = _ignore
        # abort(): close() would wait for a peer that may be gone, to flush what nobody waits for.
        self._transport.abort()
        try:
            await self.closed
        finally:
            # Also when a shutdown cancels this.
            await disconnect(self._connection)

    def _flush(self) -> None:
        out = self._out
        if out and not self.closed.done():
            self._out = []
            self._out_bytes = 0
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    # Called by the transport.

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 (asyncio's name)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.quiet_checks = 0
        feed = self._reader.feed
        gets = self._reader.gets
        replies: Replies = []
        append = replies.append
        try:
            for start in range(0, nbytes, FEED_BYTES):
                # hiredis takes any buffer; its stub names only str and bytes.
                feed(self._buffer, start, min(FEED_BYTES, nbytes - start))  # type: ignore[arg-type]
                while (reply := gets()) is not _INCOMPLETE:
                    append(reply)
        except Exception as error:  # not the protocol: nothing that follows can be trusted
            self._break(error)
        try:
            if replies:
                self._on_replies(replies)
        except Exception as error:  # a reply out of step: neither
            self._break(error)

    def _break(self, error: Exception) -> None:
        self._error = error
        # At once: those who go on with the replies before must not write to what is given up.
        self.pause_writing()
        self._transport.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.pause_writing()
        if not self.closed.done():
            self.closed.set_result(self._error or exc)
        # Without the error, which is told above: there nobody asks for it.
        self._previous.connection_lost(None)

    def pause_writing(self) -> None:
        self.writable = False
        self._on_writable(False)

    def resume_writing(self) -> None:
        self.writable = True
        self._on_writable(True)
